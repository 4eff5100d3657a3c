package gorm

import (
	"context"
	"errors"
	"testing"

	"gorm.io/gorm"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/session"
)

func TestInUnit(t *testing.T) {
	forBoth(t, 1, func(t *testing.T, db *poolgate.DB, orm *gorm.DB) {
		count := func() (n int64) {
			if err := orm.Model(&Account{}).Count(&n).Error; err != nil {
				t.Fatal(err)
			}
			return n
		}
		undone := errors.New("undone")

		// All of it is on the one permit that there is.
		err := session.Run(t.Context(), func(ctx context.Context) error {
			tx := InUnit(ctx, orm, db.DB)
			if err := tx.Create(&Account{ID: 1, Balance: 10}).Error; err != nil {
				return err
			}
			if err := tx.Transaction(func(tx *gorm.DB) error {
				return tx.Create(&Account{ID: 2, Balance: 20}).Error
			}); err != nil {
				return err
			}
			err := tx.Transaction(func(tx *gorm.DB) error {
				if err := tx.Create(&Account{ID: 3}).Error; err != nil {
					return err
				}
				return undone
			})
			if !errors.Is(err, undone) {
				t.Errorf("the inner transaction: %v", err)
			}
			var a Account
			return tx.First(&a, "id = ?", 2).Error
		})
		if err != nil || count() != 2 {
			t.Errorf("%v, %d rows, want 2", err, count())
		}

		err = session.Run(t.Context(), func(ctx context.Context) error {
			if err := InUnit(ctx, orm, db.DB).Create(&Account{ID: 4}).Error; err != nil {
				return err
			}
			return undone
		})
		if !errors.Is(err, undone) || count() != 2 {
			t.Errorf("a unit that fails: %v, %d rows", err, count())
		}

		if err := InUnit(t.Context(), orm, db.DB).Create(&Account{ID: 5}).Error; err != nil || count() != 3 {
			t.Errorf("without a unit: %v, %d rows", err, count())
		}
	})
}
