package pgserver

import (
	"errors"
	"strings"
	"testing"
)

func TestBadConfigurationIsRefusedByName(t *testing.T) {
	for _, tc := range []struct {
		name string
		cfg  Config
		want string
	}{
		{"a negative number of connections", Config{MaxConnections: -1}, "Config.MaxConnections"},
		{"a setting of ours", Config{Settings: map[string]string{"port": "5432"}}, "Config.Settings"},
		{"a setting of ours in capitals", Config{Settings: map[string]string{"Port": "5432"}}, "Config.Settings"},
		{"a setting of ours with a dash", Config{Settings: map[string]string{"max-connections": "7"}}, "Config.Settings"},
		{"a setting with an equals sign", Config{Settings: map[string]string{"port=1": ""}}, "Config.Settings"},
		{"a setting without a name", Config{Settings: map[string]string{"": "on"}}, "Config.Settings"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := Start(t.Context(), tc.cfg)
			if err == nil {
				s.Close()
				t.Fatal("it was accepted")
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("the error does not name the field: %v", err)
			}
		})
	}
}

func TestAnUnusableDSNIsAnError(t *testing.T) {
	for _, tc := range []struct{ name, dsn string }{
		{"nobody listens", "postgres://me:geheim@127.0.0.1:1/db?sslmode=disable"},
		{"nobody listens, key=value", "host=127.0.0.1 port=1 user=me password=geheim dbname=db sslmode=disable"},
		{"a bad port", "postgres://me:geheim@127.0.0.1:port/db"},
		{"a bad escape", "postgres://me:geheim%zz@127.0.0.1/db"},
		{"a bad word", "host=127.0.0.1 password=geheim nonsense"},
		{"a bad sslmode", "postgres://me:geheim@127.0.0.1/db?sslmode=perhaps"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Setenv(EnvDSN, tc.dsn)
			_, err := Start(t.Context(), Config{})
			if err == nil {
				t.Fatal("it was accepted")
			}
			if errors.Is(err, ErrUnavailable) {
				t.Errorf("tests would be skipped for it: %v", err)
			}
			if !strings.Contains(err.Error(), EnvDSN) {
				t.Errorf("the error does not say where the DSN comes from: %v", err)
			}
			if strings.Contains(err.Error(), "geheim") {
				t.Errorf("the error holds the password: %v", err)
			}
		})
	}
}
