package dsn

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestParseError(t *testing.T) {
	for name, test := range map[string]struct{ message, want string }{
		"what is quoted is left out": {
			`invalid port ":pa" after host`,
			`invalid port … after host`,
		},
		"whatever marks are in it": {
			`invalid percent-encoded token: "pa"ss"wo"rd" in it`,
			`invalid percent-encoded token: … in it`,
		},
		"the driver's own words stay": {
			`pq: wrong value for "port": strconv.ParseUint: parsing "pass": invalid syntax`,
			`pq: wrong value for "port": strconv.ParseUint: parsing …: invalid syntax`,
		},
		"also where they are further back": {
			`failed to parse as keyword/value (missing "=" after "pass" in connection info string)`,
			`failed to parse as keyword/value (missing "=" after … in connection info string)`,
		},
		"a single mark is the driver's": {
			`a stray " mark`,
			`a stray " mark`,
		},
		"nothing quoted": {
			`invalid port`,
			`invalid port`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := ParseError(errors.New(test.message)).Error()
			if want := "dsn: " + test.want + "; " + hint; got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

func TestCheckSettings(t *testing.T) {
	for _, name := range []string{"timezone", "application_name", "Work_mem2", "my.setting", "_x"} {
		if err := CheckSettings(slices.Values([]string{"options", name})); err != nil {
			t.Errorf("%s is refused: %v", name, err)
		}
	}
	for _, name := range []string{"postgress://u:s3cr3t@host/db?sslmode", "u:s3cr3t@tcp(host)/db?x", "", "a b", "2x"} {
		err := CheckSettings(slices.Values([]string{"options", name}))
		if err == nil {
			t.Errorf("%q is not refused", name)
		} else if strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("the error repeats the password: %v", err)
		}
	}
}

func TestCheckURL(t *testing.T) {
	for _, name := range []string{
		"postgres://u:p%40%2F%23@host/db", "postgres://host:5432/db?user=me@server&password=p@ss", "postgresql://u@host",
		"postgres://u:p@host/db?application_name=me@host", "postgres://u:a@b@host", "postgres:///db?host=/run", "postgres://",
		"user=u password=a/b@c#d", "", "host=x options='-c a=b://c@d/e@f'",
	} {
		if err := CheckURL(name); err != nil {
			t.Errorf("%s is refused: %v", name, err)
		}
	}
	for _, name := range []string{
		"postgres://u:/s3cr3t@host/db", "postgres://u:1/s3cr3t@host", "postgres://u:1?s3cr3t@host/db", "postgresql://u:1?a=s3cr3t@host/db",
		"postgres://u:s3cr3t#@host/db", "postgres://u:@s3cr3t/@host/db",
	} {
		err := CheckURL(name)
		if err == nil {
			t.Errorf("%q is not refused", name)
		} else if strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("the error repeats the password: %v", err)
		}
	}
}

func TestListPorts(t *testing.T) {
	for name, want := range map[string]string{
		"postgres://u:p@a:1,b:2/db?sslmode=disable": "postgres://u:p@a,b/db?sslmode=disable&port=1,2",
		"postgresql://a:1,b/db":                     "postgresql://a,b/db?port=1,5432",
		"postgres://u@a,b:2":                        "postgres://u@a,b?port=5432,2",
		"postgres://u:p,x:y@a:1/db":                 "postgres://u:p,x:y@a:1/db",
		"postgres://a,b/db?port=1,2":                "postgres://a,b/db?port=1,2",
		"postgres://[::1]:1,[::2]:2/db":             "postgres://[::1]:1,[::2]:2/db",
		"host=a,b port=1,2":                         "host=a,b port=1,2",
		"":                                          "",
	} {
		if got := ListPorts(name); got != want {
			t.Errorf("%s becomes %s, want %s", name, got, want)
		}
	}
}
