package snippets

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	fenced  = regexp.MustCompile("(?ms)^```.*?^```$")
)

// TestLinks checks that each relative link of a page leads to a file, and to a
// heading in it.
func TestLinks(t *testing.T) {
	out, err := exec.Command("git", "-C", top, "ls-files", "-z", "*.md").Output()
	if err != nil {
		t.Skipf("needs a checkout: %v", err)
	}
	files := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	checked := 0
	for _, page := range files {
		text := read(t, filepath.Join(top, page))
		for _, m := range link.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			checked++
			name, anchor, _ := strings.Cut(m[1], "#")
			file := filepath.Join(top, filepath.Dir(page), name)
			if name == "" {
				file = filepath.Join(top, page)
			}
			if _, err := os.Stat(file); err != nil {
				t.Errorf("%s: %v", page, err)
			} else if anchor != "" && !slices.Contains(anchors(read(t, file)), anchor) {
				t.Errorf("%s: %s has no heading for #%s", page, name, anchor)
			}
		}
	}
	if checked < 50 {
		t.Errorf("only %d links were found", checked)
	}
}

// TestTheREADMELinksEveryPage keeps pages from being forgotten.
func TestTheREADMELinksEveryPage(t *testing.T) {
	readme := read(t, filepath.Join(top, "README.md"))
	pages, err := filepath.Glob(filepath.Join(top, "docs", "*.md"))
	if err != nil || len(pages) == 0 {
		t.Fatal(err)
	}
	for _, page := range pages {
		if !strings.Contains(readme, "(docs/"+filepath.Base(page)) {
			t.Errorf("README.md has no link to docs/%s", filepath.Base(page))
		}
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// anchors returns what GitHub makes of the headings of a page.
func anchors(text string) (all []string) {
	for _, m := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
		all = append(all, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r > 127:
				return r
			}
			return -1
		}, strings.ToLower(m[1])))
	}
	return all
}
