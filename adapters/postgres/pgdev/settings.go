package pgdev

import (
	"maps"
	"slices"
	"strconv"
)

// common settings are those of every server.
var common = map[string]string{
	"listen_addresses":        "127.0.0.1",
	"unix_socket_directories": "", // a socket's path may have 107 bytes at most, and TCP is enough
	"max_connections":         "200",
	"timezone":                "UTC",
	"log_timezone":            "UTC",
	"jit":                     "off", // compiling costs more than our short queries
	"random_page_cost":        "1.1", // solid-state disks
	"logging_collector":       "off", // the log is our file, written through standard error
	"log_destination":         "stderr",
	"log_line_prefix":         "%m [%p] ",

	// A forgotten transaction holds back every reader of the feed. No regular
	// transaction is idle for ten minutes.
	"idle_in_transaction_session_timeout": "10min",
}

// durable settings are for development and small installations: a commit returns when
// its data is on disk.
var durable = map[string]string{
	"fsync":              "on",
	"synchronous_commit": "on",
	"full_page_writes":   "on",
	"wal_compression":    "off", // saves processor time at the cost of disk
	"shared_buffers":     "256MB",
	"max_wal_size":       "2GB", // minutes, not seconds, between checkpoints under load
	"autovacuum":         "on",
}

// fast settings are for tests, which need no durability.
var fast = map[string]string{
	"fsync":              "off",
	"synchronous_commit": "off",
	"full_page_writes":   "off",
	"wal_level":          "minimal",
	"max_wal_senders":    "0", // as wal_level minimal demands
	"shared_buffers":     "32MB",
	"max_wal_size":       "256MB",
	// Autovacuum's writes hold a transaction id, which delays the feeds of every test
	// in the cluster.
	"autovacuum": "off",
}

// arguments returns the server's command line. The order is fixed, because adopt
// compares it with the command line of a running server.
func arguments(c Config, data string, port int) []string {
	all := maps.Clone(common)
	if c.Fast {
		maps.Copy(all, fast)
	} else {
		maps.Copy(all, durable)
	}
	maps.Copy(all, c.Settings)
	args := []string{"-D", data, "-p", strconv.Itoa(port)}
	for _, k := range slices.Sorted(maps.Keys(all)) {
		args = append(args, "-c", k+"="+all[k])
	}
	return args
}
