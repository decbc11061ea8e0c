package schema

// MigrateFS is Migrate with the given migrations.
var MigrateFS = migrate

// Files returns the migrations of the program.
var Files = embedded
