// Package databases has tests of poolgate on databases other than PostgreSQL: on
// SQLite with both of its drivers, and on MariaDB with MySQL's.
package databases
