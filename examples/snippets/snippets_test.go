package snippets

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// top is the top of the repository.
var top = filepath.Join("..", "..")

func TestMain(m *testing.M) { pgserver.Main(m) }

// harmless matches errors of snippets that are right: they show a part of a
// program, which uses what they declare.
var harmless = regexp.MustCompile(`declared and not used|imported and not used|imported as \S+ and not used`)

// TestSnippets compiles every snippet, and runs the programs.
func TestSnippets(t *testing.T) {
	all := pages(t)
	if len(all) < 20 {
		t.Fatalf("only %d snippets were found", len(all))
	}
	dsn := pgserver.ForTest(t).CreateDatabase(t)
	o := newOverlay(t)
	var packages []string
	for i, s := range all {
		packages = append(packages, o.add(fmt.Sprintf("snippet%03d", i), s.source()))
	}
	problems := o.build(t, packages)
	for _, s := range all {
		t.Run(s.String(), func(t *testing.T) {
			for _, p := range problems {
				if page, line, ok := position(p); ok && page == s.page && line >= s.line && line < s.line+strings.Count(s.code, "\n") {
					t.Error(p)
				}
			}
		})
	}
	for _, p := range problems {
		if page, _, ok := position(p); !ok || !strings.HasSuffix(page, ".md") {
			t.Error(p)
		}
	}
	for i, s := range all {
		if s.isProgram() {
			t.Run("running "+s.String(), func(t *testing.T) { o.run(t, packages[i], dsn) })
		}
	}
}

func position(problem string) (page string, line int, ok bool) {
	page, rest, ok := strings.Cut(problem, ":")
	if !ok {
		return "", 0, false
	}
	_, err := fmt.Sscanf(rest, "%d", &line)
	return strings.TrimPrefix(page, "./"), line, err == nil
}

// An overlay lets the go command see packages of the examples' module that are
// not there.
type overlay struct {
	dir     string // of the files
	module  string // of the packages
	replace map[string]string
}

func newOverlay(t *testing.T) *overlay {
	module, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	return &overlay{dir: t.TempDir(), module: module, replace: map[string]string{}}
}

// add adds a package with that source, and returns its path.
func (o *overlay) add(name, source string) string {
	file := filepath.Join(o.dir, name+".go")
	if err := os.WriteFile(file, []byte(source), 0o644); err != nil {
		panic(err)
	}
	o.replace[filepath.Join(o.module, "generated", name, name+".go")] = file
	return "./generated/" + name
}

func (o *overlay) flag(t *testing.T) string {
	t.Helper()
	text, err := json.Marshal(map[string]any{"Replace": o.replace})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(o.dir, "overlay.json")
	if err := os.WriteFile(file, text, 0o644); err != nil {
		t.Fatal(err)
	}
	return "-overlay=" + file
}

// build compiles the packages, and returns what is wrong with them, a line each.
func (o *overlay) build(t *testing.T, packages []string) (problems []string) {
	t.Helper()
	cmd := exec.Command("go", append([]string{"build", o.flag(t), "-gcflags=-e"}, packages...)...)
	cmd.Dir = o.module
	out, err := cmd.CombinedOutput()
	if _, failed := err.(*exec.ExitError); err != nil && !failed {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "go: downloading") && !harmless.MatchString(line) {
			// Positions are relative to the page, if the compiler lets them be.
			if _, page, ok := strings.Cut(line, "generated/"); ok {
				if _, page, ok := strings.Cut(page, "/"); ok && strings.Contains(page, ".md:") {
					line = page
				}
			}
			problems = append(problems, line)
		}
	}
	return problems
}

// run runs a program, which must end without an error.
func (o *overlay) run(t *testing.T, program, dsn string) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "run", o.flag(t), program)
	cmd.Dir = o.module
	cmd.Env = append(os.Environ(), "DATABASE_URL="+dsn)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "<nil>") {
		t.Errorf("%v:\n%s", err, out)
	}
}

// TestYAML reads the configuration that docs/configuration.md shows.
func TestYAML(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(top, "docs", "configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(text), "```yaml\n")
	block, _, _ = strings.Cut(block, "```")
	var config gate.Config
	if err := yaml.Unmarshal([]byte(block), &config); err != nil {
		t.Fatal(err)
	}
	want := gate.Config{Limit: 40, MaxWait: 30 * time.Second, Classes: []gate.Class{
		{Name: "pages", Reserved: 30}, {Name: "reports", Max: 8, Priority: -1},
	}}
	if !reflect.DeepEqual(config, want) {
		t.Errorf("got  %+v\nwant %+v", config, want)
	}
}

func TestExtract(t *testing.T) {
	got := extract("p.md", "text\n<!-- go: var x int -->\n```go\nx++\n```\nmore\n\n```\nno\n```\n```go\ngate.Config{\n\tLimit: 1,\n}\n```\n")
	if len(got) != 2 || got[0] != (snippet{"p.md", 4, "x++\n", "var x int "}) || got[1].line != 12 || got[1].with != "" {
		t.Errorf("got %+v", got)
	}
}

// TestAMistakeIsFound makes sure that the test can fail.
func TestAMistakeIsFound(t *testing.T) {
	o := newOverlay(t)
	var packages []string
	for i, code := range []string{
		"unused := 1\n", "x := db.NoSuchMethod()\n", "func f() { undefined() }\n", "gate.Config{\n\tNoField: 1,\n}\n",
		"import \"github.com/poolgate/poolgate/no/such\"\n\nlog.Print(1)\n",
	} {
		s := snippet{page: fmt.Sprintf("page%d.md", i), line: 10, code: code}
		packages = append(packages, o.add(fmt.Sprintf("mistake%d", i), s.source()))
	}
	problems := strings.Join(o.build(t, packages[:4]), "\n") + strings.Join(o.build(t, packages[4:]), "\n")
	for _, want := range []string{"page1.md:10", "page2.md:10", "page3.md:11", "no/such"} {
		if !strings.Contains(problems, want) {
			t.Errorf("there is no %q in\n%s", want, problems)
		}
	}
	if strings.Contains(problems, "page0.md") {
		t.Errorf("an unused variable is a problem:\n%s", problems)
	}
}
