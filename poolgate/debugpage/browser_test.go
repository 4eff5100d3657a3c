//go:build unix

package debugpage_test

import (
	"bytes"
	"errors"
	"flag"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate/debugpage"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// envBrowser, set to 1, makes the test fail that would be skipped for want of a
// browser.
const envBrowser = "POOLGATE_REQUIRE_BROWSER"

var (
	screenshot = flag.String("screenshot", "", "write the picture of the page to `file`, for docs/debug-page.md")
	traffic    = flag.Duration("traffic", time.Second, "for how long all goes well, and then badly, before the page is looked at")
)

// The page is looked at in a real browser, while a program on a real PostgreSQL
// is in trouble.
func TestInABrowser(t *testing.T) {
	browser := findBrowser(t)
	pgserver.ForTest(t)
	leaks := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, leaks) })

	leakAfter := *traffic / 10
	s := openShop(t, leakAfter)
	time.Sleep(*traffic)
	s.trouble(t)
	if *screenshot != "" {
		time.Sleep(*traffic / 3)
	}
	var loads atomic.Int64
	page := debugpage.New(map[string]*gate.Gate{"shop": s.db.Gate()})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		loads.Add(1)
		page.ServeHTTP(w, r)
	}))
	defer server.Close()

	t.Run("it shows who holds what, and which goroutine has ended", func(t *testing.T) {
		dom := browse(t, browser, "--dump-dom", server.URL+"/?goroutines=show")
		for _, want := range []string{
			"All 4 permits are in use, and 7 callers wait, the longest for ",
			"4 holders have had their permits for longer than ",
			`<b>4</b> limit`, `<b>4</b> in flight`, `<b>7</b> waiting`,
			`aria-label="Callers per 10 s of web, up to `,
		} {
			if !strings.Contains(dom, want) {
				t.Errorf("there is no %q", want)
			}
		}
		for _, row := range []struct {
			statement string
			cells     []string
		}{
			{"SELECT id FROM customers WHERE token = ?", []string{"too long", ">web<", "(*shop).isKnown, shop_test.go:", "its goroutine has ended"}},
			{"UPDATE accounts SET balance = balance - $2 WHERE id = $1", []string{"too long", ">web<", "<b>select", "(*shop).pay, shop_test.go:"}},
			{"SELECT turnover(?, $1)", []string{"too long", ">reports<", "(*shop).turnover, shop_test.go:", "<b>IO wait"}},
		} {
			cells := rowOf(dom, row.statement)
			for _, want := range row.cells {
				if !strings.Contains(cells, want) {
					t.Errorf("of %s there is no %q in\n%s", row.statement, want, cells)
				}
			}
			if running := strings.Contains(row.statement, "turnover"); running != strings.Contains(cells, "<b>running</b>") {
				t.Errorf("of %s it says running: %v", row.statement, !running)
			}
		}
		if queue := rowOf(dom, `<td class="text">web</td><td class="first">`); !strings.Contains(queue, `<td class="first bad">6</td>`) {
			t.Errorf("the queue of the web:\n%s", queue)
		}
		if strings.Contains(dom, "hunter2") {
			t.Error("a secret is shown")
		}
		if t.Failed() {
			_, body, _ := strings.Cut(dom, "<body>")
			t.Log(body)
		}
	})

	t.Run("it looks as it should", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "page.png")
		browse(t, browser, "--screenshot="+file, "--window-size=1240,1650", "--hide-scrollbars", server.URL+"/?goroutines=show")
		picture := read(t, file)
		colors := colorsOf(picture)
		for what, c := range map[string]color.RGBA{
			"what is held too long":  {0xc6, 0x28, 0x28, 0xff},
			"the notes":              {0xfd, 0xec, 0xea, 0xff},
			"the bars of the charts": {0x1f, 0x6f, 0xeb, 0xff},
		} {
			if n := colors[c]; n < 100 {
				t.Errorf("%s: %d pixels of their colour", what, n)
			}
		}
		if *screenshot != "" {
			write(t, *screenshot, picture, colors)
		}
	})

	t.Run("of two gates, the one in trouble is at the top", func(t *testing.T) {
		idle := newGate(t, gate.Config{Limit: 10})
		two := httptest.NewServer(debugpage.New(map[string]*gate.Gate{"audit": idle, "shop": s.db.Gate()}))
		defer two.Close()
		file := filepath.Join(t.TempDir(), "page.png")
		browse(t, browser, "--screenshot="+file, "--window-size=1280,900", "--hide-scrollbars", two.URL)
		picture := read(t, file)
		top := picture.(interface {
			SubImage(image.Rectangle) image.Image
		}).SubImage(image.Rect(0, 0, 1280, 200))
		if n := colorsOf(top)[color.RGBA{0xfd, 0xec, 0xea, 0xff}]; n < 10_000 {
			t.Errorf("%d pixels in the top 200 lines have the colour of an alarm", n)
		}
	})

	t.Run("it refreshes, and shows what has changed", func(t *testing.T) {
		before := loads.Load()
		stop := open(t, browser, server.URL+"/?refresh=1")
		defer stop()
		until(t, "it is loaded three times", func() bool { return loads.Load() >= before+3 })
	})
}

// rowOf is the row of a table that has text in it.
func rowOf(dom, text string) string {
	for row := range strings.SplitSeq(dom, "<tr>") {
		if row, _, _ := strings.Cut(row, "</tr>"); strings.Contains(row, text) {
			return row
		}
	}
	return ""
}

func read(t *testing.T, file string) image.Image {
	t.Helper()
	content, err := os.ReadFile(file)
	must(t, err)
	picture, err := png.Decode(bytes.NewReader(content))
	must(t, err)
	return picture
}

func colorsOf(picture image.Image) map[color.RGBA]int {
	colors := make(map[color.RGBA]int)
	for y := picture.Bounds().Min.Y; y < picture.Bounds().Max.Y; y++ {
		for x := picture.Bounds().Min.X; x < picture.Bounds().Max.X; x++ {
			colors[color.RGBAModel.Convert(picture.At(x, y)).(color.RGBA)]++
		}
	}
	return colors
}

// write keeps the 64 colours that the picture has most of, so that it is small.
func write(t *testing.T, file string, picture image.Image, colors map[color.RGBA]int) {
	t.Helper()
	most := slices.SortedFunc(maps.Keys(colors), func(a, b color.RGBA) int { return colors[b] - colors[a] })
	var palette color.Palette
	for _, c := range most[:min(len(most), 64)] {
		palette = append(palette, c)
	}
	small := image.NewPaletted(picture.Bounds(), palette)
	draw.Draw(small, small.Rect, picture, small.Rect.Min, draw.Src)
	var content bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	must(t, encoder.Encode(&content, small))
	must(t, os.WriteFile(file, content.Bytes(), 0o644))
}

func findBrowser(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	const missing = "no Chromium found: apt-get install --no-install-recommends chromium"
	if os.Getenv(envBrowser) == "1" {
		t.Fatal(missing)
	}
	t.Skip(missing)
	return ""
}

// chromium returns a command that is killed with all its processes.
func chromium(t *testing.T, browser string, args ...string) (cmd *exec.Cmd, kill func(), output, console *bytes.Buffer) {
	t.Helper()
	own := ownFolder(t)
	cmd = exec.Command(browser, append([]string{
		"--headless", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage", "--disable-background-networking", "--disable-breakpad",
		"--no-sandbox", // which root cannot have; it is our own page that it shows
		"--enable-logging=stderr", "--user-data-dir=" + own,
	}, args...)...)
	cmd.Env = append(os.Environ(), "TMPDIR="+own)
	output, console = new(bytes.Buffer), new(bytes.Buffer)
	cmd.Stdout, cmd.Stderr = output, console
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = 10 * time.Second
	must(t, cmd.Start())
	return cmd, func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }, output, console
}

// ownFolder is where a browser puts what it leaves behind. Its processes may
// write there until the last of them is gone, which t.TempDir does not like.
func ownFolder(t *testing.T) string {
	t.Helper()
	folder, err := os.MkdirTemp("", "debugpage-browser-")
	must(t, err)
	t.Cleanup(func() {
		until(t, "the browser's files are gone", func() bool { return os.RemoveAll(folder) == nil })
	})
	return folder
}

// browse runs the browser until it is done, and returns what it prints. It may
// not complain of the page.
func browse(t *testing.T, browser string, args ...string) string {
	t.Helper()
	cmd, kill, output, console := chromium(t, browser, args...)
	timer := time.AfterFunc(time.Minute, kill)
	err := cmd.Wait()
	timer.Stop()
	kill() // what is left of it
	if err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		t.Fatalf("%v\n%s", err, console)
	}
	if strings.Contains(console.String(), "CONSOLE") {
		t.Errorf("the browser complains:\n%s", console)
	}
	return output.String()
}

// open has the browser show the page until stop is called.
func open(t *testing.T, browser, url string) (stop func()) {
	t.Helper()
	cmd, kill, _, _ := chromium(t, browser, "--remote-debugging-port=0", url)
	return func() {
		kill()
		cmd.Wait() // killed, and says so
	}
}
