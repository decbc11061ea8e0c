package schema

// MigrateFS is Migrate with migrations of the test's own.
var MigrateFS = migrate

// Files are the migrations of the program.
var Files = embedded
