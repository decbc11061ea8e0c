package guard

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
)

// Telegram is where Telegram's webhooks come from, by its documentation.
var Telegram = []netip.Prefix{netip.MustParsePrefix("149.154.160.0/20"), netip.MustParsePrefix("91.108.4.0/22")}

const (
	// sourceBits of an IPv6 address are one customer's; the rest they choose at will.
	sourceBits = 64
	// Networks are what the log names: some hundred neighbours.
	network4Bits = 24
	network6Bits = 48
	// maxHops bounds how far a chain of proxies is followed.
	maxHops = 16
)

// ParseRanges reads a list of addresses and CIDR ranges. The word telegram stands for
// Telegram's.
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
			return nil, fmt.Errorf("%q is neither the word telegram nor an address or range such as 203.0.113.7, 10.0.0.0/8 or 2001:db8::/32", word)
		}
		ranges = append(ranges, prefix.Masked())
	}
	return ranges, nil
}

// inside tells whether an address is one of the operator's own networks.
func inside(address netip.Addr) bool {
	return address.IsLoopback() || address.IsPrivate() || address.IsLinkLocalUnicast()
}

func contains(ranges []netip.Prefix, address netip.Addr) bool {
	for _, r := range ranges {
		if r.Contains(address) {
			return true
		}
	}
	return false
}

// address is where a request comes from. Of X-Forwarded-For only that part is believed
// which trusted proxies wrote: it is read from the right, as each proxy adds whom it
// heard, up to the first that is not trusted.
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
			heard, ok := parseHop(hop)
			if !ok || hops == maxHops {
				return address // what stands further left nobody vouches for
			}
			if address = heard; !contains(r.Proxies, address) {
				return address
			}
		}
	}
	return address
}

// sourceOf is the address, or the first one of its IPv6 network.
func sourceOf(address netip.Addr) netip.Addr {
	if !address.Is6() {
		return address
	}
	return wholeOf(address).Addr()
}

// wholeOf is all addresses of a source.
func wholeOf(source netip.Addr) netip.Prefix {
	bits := source.BitLen()
	if source.Is6() {
		bits = sourceBits
	}
	return netip.PrefixFrom(source, bits).Masked()
}

// networkOf is the neighbourhood that a log line names.
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

// parseHop reads one entry of X-Forwarded-For: an address, perhaps with a port.
func parseHop(hop string) (netip.Addr, bool) {
	hop = strings.TrimSpace(hop)
	address, err := netip.ParseAddr(strings.Trim(hop, "[]"))
	if err != nil {
		withPort, err := netip.ParseAddrPort(hop)
		return plain(withPort.Addr()), err == nil
	}
	return plain(address), true
}

// plain is an address as ranges know it: without a zone, and IPv4 as IPv4.
func plain(address netip.Addr) netip.Addr { return address.Unmap().WithZone("") }

// peerOf is the other end of a request's connection.
func peerOf(r *http.Request) netip.Addr {
	if c := connOf(r); c != nil {
		return c.peer
	}
	peer, _ := parseHop(r.RemoteAddr)
	return peer
}
