package rows

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/poolgate/poolgate/internal/sqlstate"
)

// A table is a table's columns, in their order.
type table []column

type column struct {
	Table   string  // the table's name, with its schema, quoted
	Name    string  // not quoted
	Quoted  string  // the name as in SQL
	Type    string  // as in SQL, without its length and not as a domain, because a cast silently cuts off what is too long
	Exact   string  // as in SQL, with its length, and as a domain if it is one
	Key     bool    // in the primary key
	Default *string // an expression
	Always  bool    // GENERATED ALWAYS AS IDENTITY
	Print   string  // a digest of all columns of the table
	kind
}

// tableQuery returns the columns of the table $1. It finds the types that
// domains and arrays are made of.
//
// $2 is 999 ns after the start of 1970. If it arrives as a later time than the
// start of 1970, the driver leaves the rounding to the server.
const tableQuery = `
SELECT name.quoted AS "table", a.attname::text AS name, quote_ident(a.attname) AS quoted,
       format_type(base.oid, -1) AS type, format_type(a.atttypid, a.atttypmod) AS exact,
       CASE WHEN element.typnamespace = 'pg_catalog'::regnamespace THEN element.typname::text ELSE '' END AS element,
       element.typcategory::text AS category, base.typcategory = 'A' AS array, own.domain,
       $2::timestamptz > timestamptz '1970-01-01 00:00:00Z' AS rounds,
       COALESCE(a.attnum = ANY(k.conkey), false) AS key,
       CASE WHEN a.attidentity <> ''
            THEN format('nextval(%L::regclass)', pg_get_serial_sequence(name.quoted, a.attname))
            ELSE COALESCE(pg_get_expr(d.adbin, d.adrelid), own.standard) END AS default,
       a.attidentity = 'a' AS always
FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (SELECT format('%I.%I', n.nspname, c.relname) AS quoted) name
CROSS JOIN LATERAL (
	WITH RECURSIVE within AS (
		SELECT t.*, 1 AS depth, false AS inside FROM pg_type t WHERE t.oid = a.atttypid
		UNION ALL
		SELECT t.*, w.depth + 1, w.inside OR w.typtype <> 'd' FROM within w JOIN pg_type t
		ON t.oid = CASE WHEN w.typtype = 'd' THEN w.typbasetype WHEN w.typcategory = 'A' THEN w.typelem END
	)
	SELECT (array_agg(oid ORDER BY depth) FILTER (WHERE typtype <> 'd'))[1] AS base,
	       (array_agg(oid ORDER BY depth DESC))[1] AS element,
	       bool_or(typtype = 'd') AS domain,
	       (array_agg(pg_get_expr(typdefaultbin, 0) ORDER BY depth) FILTER (WHERE NOT inside AND typdefaultbin IS NOT NULL AND typtype = 'd'))[1] AS standard
	FROM within
) own
JOIN pg_type base ON base.oid = own.base
JOIN pg_type element ON element.oid = own.element
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.attgenerated = ''
LEFT JOIN pg_constraint k ON k.conrelid = a.attrelid AND k.contype = 'p'
WHERE a.attrelid = $1::text::regclass AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum`

// printedQuery is tableQuery with the digest of its rows, and checkQuery fails
// with a division by zero if that is not $3.
const (
	printedQuery = "SELECT t.*, md5(string_agg(t::text, '') OVER ()) AS print FROM (" + tableQuery + ") t"
	checkQuery   = "SELECT 1 / COALESCE((md5(string_agg(t::text, '')) = $3)::int, 0) FROM (" + tableQuery + ") t"
)

// earliest is $2 of these queries.
var earliest = time.Unix(0, 999).UTC()

// lookUp asks the server for a table. If the table does not exist, the error is
// the server's own.
func lookUp(ctx context.Context, q Queryer, name string) (table, error) {
	t, err := Collect[column](ctx, q, printedQuery, name, earliest)
	if sqlstate.IsForeign(err) {
		return nil, fmt.Errorf("rows: InsertMany needs PostgreSQL: %w", err)
	}
	if err == nil && !slices.ContainsFunc(t, func(c column) bool { return c.Key }) {
		err = fmt.Errorf("%w: %s", ErrNoPrimaryKey, name)
	}
	return t, err
}

func (t table) names() []string {
	names := make([]string, len(t))
	for i, c := range t {
		names[i] = c.Name
	}
	return names
}

// insert returns the statement that stores one array for each column of given
// and returns the columns of returned, in the order of the arrays.
//
// PostgreSQL does not promise the order of what RETURNING returns. So the
// statement gives each row its key before it stores it, from the input or from
// the default, and finds the input's position by the key.
func (t table) insert(given, returned []column) (string, error) {
	var computed []column
	var pairs []string
	overriding := ""
	for _, c := range t {
		if !c.Key {
			continue
		}
		alias := fmt.Sprintf("k%d", len(computed)+1)
		if i := slices.IndexFunc(given, func(g column) bool { return g.Name == c.Name }); i >= 0 {
			alias = fmt.Sprintf("c%d", i+1)
		} else if c.Default == nil {
			return "", fmt.Errorf("rows: column %q of %s is in the primary key and has no default: give it a value", c.Name, c.Table)
		} else {
			computed = append(computed, c)
			if c.Always {
				overriding = " OVERRIDING SYSTEM VALUE"
			}
		}
		// The stored key has the precision of its column.
		pairs = append(pairs, fmt.Sprintf("stored.%s = input.%s::%s", c.Quoted, alias, c.Exact))
	}

	var params, aliases, input, columns, values []string
	for i, c := range given {
		alias := fmt.Sprintf("c%d", i+1)
		params = append(params, fmt.Sprintf("$%d::text[]", i+1))
		aliases = append(aliases, alias)
		input = append(input, fmt.Sprintf("u.%s::%s AS %s", alias, c.Type, alias))
		columns, values = append(columns, c.Quoted), append(values, alias)
	}
	for i, c := range computed {
		alias := fmt.Sprintf("k%d", i+1)
		input = append(input, fmt.Sprintf("(%s)::%s AS %s", *c.Default, c.Type, alias))
		columns, values = append(columns, c.Quoted), append(values, alias)
	}
	var returning, result []string
	for _, c := range t {
		if c.Key || slices.ContainsFunc(returned, func(r column) bool { return r.Name == c.Name }) {
			returning = append(returning, c.Quoted)
		}
	}
	for _, c := range returned {
		result = append(result, "stored."+c.Quoted)
	}
	list := func(s []string) string { return strings.Join(s, ", ") }
	return fmt.Sprintf(`WITH input AS MATERIALIZED (
	SELECT u.n, %s FROM unnest(%s) WITH ORDINALITY AS u(%s, n) ORDER BY u.n
), stored AS (
	INSERT INTO %s (%s)%s SELECT %s FROM input ORDER BY n RETURNING %s
)
SELECT %s FROM input JOIN stored ON %s ORDER BY input.n`,
		list(input), list(params), list(aliases),
		t[0].Table, list(columns), overriding, list(values), list(returning),
		list(result), strings.Join(pairs, " AND ")), nil
}
