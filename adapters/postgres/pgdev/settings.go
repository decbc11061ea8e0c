package pgdev

import (
	"maps"
	"slices"
	"strconv"
)

// common settings hold for every server.
var common = map[string]string{
	"listen_addresses":        "127.0.0.1",
	"unix_socket_directories": "", // a socket's path may have 107 bytes at most; and nobody needs it
	"max_connections":         "200",
	"timezone":                "UTC",
	"log_timezone":            "UTC",
	"jit":                     "off", // compiling costs more than our short queries
	"random_page_cost":        "1.1", // solid-state disks
	"logging_collector":       "off", // the log is our file, written through standard error
	"log_destination":         "stderr",
	"log_line_prefix":         "%m [%p] ",

	// A forgotten transaction holds back every reader of the feed. Ten minutes
	// is far beyond any honest one.
	"idle_in_transaction_session_timeout": "10min",
}

// durable settings are for development and small installations: committed
// means on disk.
var durable = map[string]string{
	"fsync":              "on",
	"synchronous_commit": "on",
	"full_page_writes":   "on",
	"wal_compression":    "off", // processors are scarcer than disk here
	"shared_buffers":     "256MB",
	"max_wal_size":       "2GB", // checkpoints minutes, not seconds, apart under load
	"autovacuum":         "on",
}

// fast settings are for tests, whose data is thrown away.
var fast = map[string]string{
	"fsync":              "off",
	"synchronous_commit": "off",
	"full_page_writes":   "off",
	"wal_level":          "minimal",
	"max_wal_senders":    "0", // as wal_level minimal demands
	"shared_buffers":     "32MB",
	"max_wal_size":       "256MB",
	// Statistics written behind a test's back hold a transaction id, which
	// delays the feeds of every test in the cluster.
	"autovacuum": "off",
}

// arguments are the server's, in a fixed order, so that a server that was left
// running can be compared with the one wanted.
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
