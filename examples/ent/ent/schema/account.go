// Package schema describes the table accounts to ent.
package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/schema/field"
)

// An Account is a row of the table accounts.
type Account struct{ ent.Schema }

// Fields are the columns of the table.
func (Account) Fields() []ent.Field {
	return []ent.Field{
		field.Int64("id"),
		field.Int64("balance"),
	}
}
