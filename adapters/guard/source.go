package guard

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Telegram lists the ranges from which Telegram sends webhook requests, according to its
// documentation.
var Telegram = []netip.Prefix{
	netip.MustParsePrefix("149.154.160.0/20"),
	netip.MustParsePrefix("91.108.4.0/22"),
}

const (
	// sourceBits is the number of leading bits of an IPv6 address that identify a source.
	sourceBits = 64
	// network4Bits and network6Bits are the sizes of the networks in the log, which has no single
	// addresses.
	network4Bits = 24
	network6Bits = 48
	// maxHops bounds the number of X-Forwarded-For entries that are read.
	maxHops = 16
)

// ParseRanges parses a list of addresses and CIDR ranges. The word telegram stands for
// Telegram's ranges.
func ParseRanges(words []string) ([]netip.Prefix, error) {
	var ranges []netip.Prefix
	for _, word := range words {
		if word == "telegram" {
			ranges = append(ranges, Telegram...)
			continue
		}
		prefix, err := netip.ParsePrefix(word)
		if address, single := netip.ParseAddr(word); single == nil {
			prefix, err = netip.PrefixFrom(address, address.BitLen()), nil
		}
		if err != nil || prefix.Addr().Is4In6() || strings.Contains(word, "%") {
			return nil, fmt.Errorf("%q is not an address range: use the word telegram, "+
				"or an address or range such as 203.0.113.7, 10.0.0.0/8 or 2001:db8::/32", word)
		}
		ranges = append(ranges, prefix.Masked())
	}
	return ranges, nil
}

// isPrivate reports whether an address belongs to this machine or to a private network.
func isPrivate(address netip.Addr) bool {
	return address.IsLoopback() || address.IsPrivate() || address.IsLinkLocalUnicast()
}

func contains(ranges []netip.Prefix, address netip.Addr) bool {
	return slices.ContainsFunc(ranges, func(r netip.Prefix) bool { return r.Contains(address) })
}

// address returns the client address of a request. It trusts only the part of X-Forwarded-For that trusted
// proxies have written: each proxy appends the address from which it received the request, so the header is read
// from the right up to the first address that is not a trusted proxy.
func (r *Rules) address(request *http.Request) netip.Addr {
	address := peerOf(request)
	if !contains(r.Proxies, address) {
		return address
	}
	lines := request.Header["X-Forwarded-For"]
	for hops, line := 0, len(lines)-1; line >= 0; line-- {
		for rest, more := lines[line], true; more; hops++ {
			var hop string
			comma := strings.LastIndexByte(rest, ',')
			if hop, more = rest[comma+1:], comma >= 0; more {
				rest = rest[:comma]
			}
			parsed, ok := parseHop(hop)
			if !ok || hops == maxHops {
				return address // the entries further left are not from a trusted proxy
			}
			if address = parsed; !contains(r.Proxies, address) {
				return address
			}
		}
	}
	return address
}

// sourceOf returns the address, or the first address of its IPv6 network.
func sourceOf(address netip.Addr) netip.Addr {
	if !address.Is6() {
		return address
	}
	return wholeOf(address).Addr()
}

// wholeOf returns the range of all addresses of a source.
func wholeOf(source netip.Addr) netip.Prefix {
	bits := source.BitLen()
	if source.Is6() {
		bits = sourceBits
	}
	return netip.PrefixFrom(source, bits).Masked()
}

// networkOf returns the network of a source for the log.
func networkOf(source netip.Addr) netip.Prefix {
	bits := network4Bits
	if source.Is6() {
		bits = network6Bits
	}
	prefix, err := source.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return prefix
}

// parseHop parses one entry of X-Forwarded-For: an address with an optional port.
func parseHop(hop string) (netip.Addr, bool) {
	hop = strings.TrimSpace(hop)
	address, err := netip.ParseAddr(strings.Trim(hop, "[]"))
	if err != nil {
		withPort, err := netip.ParseAddrPort(hop)
		return normalize(withPort.Addr()), err == nil
	}
	return normalize(address), true
}

// normalize removes the zone of an address and converts an IPv4-mapped one to IPv4, for comparisons with ranges.
func normalize(address netip.Addr) netip.Addr { return address.Unmap().WithZone("") }

// peerOf returns the remote address of a request's connection.
func peerOf(r *http.Request) netip.Addr {
	if c := connOf(r); c != nil {
		return c.peer
	}
	peer, _ := parseHop(r.RemoteAddr)
	return peer
}
