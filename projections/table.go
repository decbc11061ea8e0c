package projections

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/domain"
)

// A table reads and writes one table of the read model. R is its row: a struct whose fields are the
// columns, named by their tags.
//
//	Stream  string     `column:"stream_id,key"` // the primary key
//	Bot     string     `column:"bot,fixed"`     // never changes: not part of updates
//	Day     time.Time  `column:"day,date"`      // a database type that the Go type does not imply
//	ReplyAt *time.Time `column:"reply_at"`      // nil is null
//
// Every row ends with the columns version, transaction_id and position, from the embedded place.
type table[R any] struct {
	name    string
	columns []column
	names   string // of all columns, separated by commas
	upsert  string
}

// A column is one field of a row.
type column struct {
	name   string
	index  []int  // of the field, for FieldByIndex
	sql    string // its type in the database
	encode func(reflect.Value) (reflect.Value, error)
	array  reflect.Type // of its values as one parameter
}

// place is the version and position of the event that last changed a row.
type place struct {
	Version  int64 `column:"version"`
	Position domain.Position
}

func placeOf(r domain.Recorded) place { return place{int64(r.Version), r.Position} }

// newTable reads the columns from R's tags. It panics if R has a field whose type it does not know.
func newTable[R any](name string) *table[R] {
	t := &table[R]{name: name}
	var key string
	var list, selected, params, updated []string
	for _, field := range reflect.VisibleFields(reflect.TypeFor[R]()) {
		if field.Type == reflect.TypeFor[domain.Position]() {
			for i, name := range []string{"transaction_id", "position"} {
				f := field.Type.Field(i)
				f.Tag = reflect.StructTag(`column:"` + name + `"`)
				f.Index = slices.Concat(field.Index, []int{i})
				t.columns = append(t.columns, newColumn(f))
				updated = append(updated, name)
			}
			continue
		}
		tag, ok := field.Tag.Lookup("column")
		if !ok || field.Anonymous {
			continue
		}
		c := newColumn(field)
		t.columns = append(t.columns, c)
		switch _, option, _ := strings.Cut(tag, ","); option {
		case "key":
			key = c.name
		case "fixed":
		default:
			updated = append(updated, c.name)
		}
	}
	for i, c := range t.columns {
		list = append(list, c.name)
		params = append(params, fmt.Sprintf("$%d::%s[]", i+1, strings.Replace(c.sql, "[]", "", 1)))
		selected = append(selected, c.name)
		if element, isArray := strings.CutSuffix(c.sql, "[]"); isArray {
			// unnest would flatten arrays of arrays: they travel as text.
			params[i], selected[i] = fmt.Sprintf("$%d::text[]", i+1), c.name+"::"+element+"[]"
		}
	}
	for i, name := range updated {
		updated[i] = name + " = excluded." + name
	}
	t.names = strings.Join(list, ", ")
	// A row of the same version has not changed.
	t.upsert = `
		insert into ` + name + ` as stored (` + t.names + `)
		select ` + strings.Join(selected, ", ") + `
		from unnest(` + strings.Join(params, ", ") + `) as changed (` + t.names + `)
		on conflict (` + key + `) do update set ` + strings.Join(updated, ", ") + `
		where stored.version < excluded.version`
	return t
}

func newColumn(field reflect.StructField) column {
	name, option, _ := strings.Cut(field.Tag.Get("column"), ",")
	c := column{name: name, index: field.Index, array: reflect.SliceOf(field.Type)}
	kind := field.Type
	if kind.Kind() == reflect.Pointer {
		kind = kind.Elem()
	}
	switch {
	case option == "date":
		c.sql = "date"
	case kind == reflect.TypeFor[time.Time]():
		c.sql = "timestamptz"
	case kind == reflect.TypeFor[[]string](), kind == reflect.TypeFor[[]float64]():
		c.sql, c.encode, c.array = "text[]", encodeArray, reflect.TypeFor[[]string]()
		if kind == reflect.TypeFor[[]float64]() {
			c.sql = "double precision[]"
		}
	case kind.Kind() == reflect.Map, kind.Kind() == reflect.Struct:
		c.sql, c.encode, c.array = "jsonb", encodeJSON, reflect.TypeFor[[]*string]()
	default:
		c.sql = map[reflect.Kind]string{
			reflect.String: "text", reflect.Int64: "bigint", reflect.Bool: "boolean",
			reflect.Float64: "double precision", reflect.Uint64: "xid8",
		}[kind.Kind()]
	}
	if c.sql == "" {
		panic(fmt.Sprintf("column %s: no database type for %v", name, field.Type))
	}
	return c
}

// arrayEscapes escape an element of an array in text.
var arrayEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// encodeArray writes a list as PostgreSQL reads an array in text.
func encodeArray(v reflect.Value) (reflect.Value, error) {
	var elements []string
	switch list := v.Interface().(type) {
	case []float64:
		for _, x := range list {
			elements = append(elements, strconv.FormatFloat(x, 'g', -1, 64))
		}
	case []string:
		for _, s := range list {
			elements = append(elements, `"`+arrayEscapes.Replace(s)+`"`)
		}
	}
	return reflect.ValueOf("{" + strings.Join(elements, ",") + "}"), nil
}

// encodeJSON returns null for nil.
func encodeJSON(v reflect.Value) (reflect.Value, error) {
	if v.Kind() == reflect.Pointer && v.IsNil() {
		return reflect.Zero(reflect.TypeFor[*string]()), nil
	}
	encoded, err := json.Marshal(v.Interface())
	text := string(encoded)
	return reflect.ValueOf(&text), err
}

// query reads the rows that a statement selects. The statement must select t.names.
func (t *table[R]) query(ctx context.Context, tx pgx.Tx, sql string, args ...any) ([]*R, error) {
	found, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", t.name, err)
	}
	targets := make([]any, len(t.columns)) // the fields of the row that is scanned
	rows, err := pgx.CollectRows(found, func(row pgx.CollectableRow) (*R, error) {
		r := new(R)
		fields := reflect.ValueOf(r).Elem()
		for i := range t.columns {
			targets[i] = fields.FieldByIndex(t.columns[i].index).Addr().Interface()
		}
		return r, row.Scan(targets...)
	})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", t.name, err)
	}
	return rows, nil
}

// write inserts rows, or updates those that the table has in an earlier version, in one statement. It
// returns the number of rows that it wrote. All writers must pass rows in the same order, to avoid deadlocks.
func (t *table[R]) write(ctx context.Context, tx pgx.Tx, rows []*R) (int64, error) {
	if len(rows) == 0 {
		return 0, nil
	}
	args, err := t.args(rows)
	if err != nil {
		return 0, fmt.Errorf("write %s: %w", t.name, err)
	}
	written, err := tx.Exec(ctx, t.upsert, args...)
	if err != nil {
		return 0, fmt.Errorf("write %d rows of %s: %w", len(rows), t.name, err)
	}
	return written.RowsAffected(), nil
}

// args returns the values of rows as parameters of the upsert: an array for each column.
func (t *table[R]) args(rows []*R) ([]any, error) {
	arrays := make([]reflect.Value, len(t.columns))
	for i, c := range t.columns {
		arrays[i] = reflect.MakeSlice(c.array, len(rows), len(rows))
	}
	for n, r := range rows {
		fields := reflect.ValueOf(r).Elem()
		for i := range t.columns {
			c := &t.columns[i]
			value := fields.FieldByIndex(c.index)
			if c.encode != nil {
				var err error
				if value, err = c.encode(value); err != nil {
					return nil, fmt.Errorf("column %s: %w", c.name, err)
				}
			}
			arrays[i].Index(n).Set(value)
		}
	}
	args := make([]any, len(arrays))
	for i, array := range arrays {
		args[i] = array.Interface()
	}
	return args, nil
}

// row returns a row's columns in the form in which they are compared.
func (t *table[R]) row(r *R) Row {
	row, fields := make(Row, len(t.columns)), reflect.ValueOf(r).Elem()
	for i := range t.columns {
		c := &t.columns[i]
		row[i] = Column{c.name, compared(fields.FieldByIndex(c.index))}
	}
	return row
}

// compared returns nil for null, and a time in the precision of the database.
func compared(v reflect.Value) any {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return nil
		}
		v = v.Elem()
	}
	if t, ok := v.Interface().(time.Time); ok {
		return t.UTC().Truncate(time.Microsecond).Format(time.RFC3339Nano)
	}
	return v.Interface()
}
