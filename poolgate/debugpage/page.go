package debugpage

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/poolgate/poolgate/poolgate/gate"
)

// maxHolders is how many holders of each gate the page shows. As JSON there are
// all.
const maxHolders = 200

//go:embed page.css
var style string

//go:embed page.html
var text string

// policy has a browser take nothing from elsewhere, run no script, and use no
// style but ours.
var policy = "default-src 'none'; style-src 'sha256-" + digest(style) + "'; img-src data:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// A view is what the page is made of.
type view struct {
	report
	wanted
}

// Style is the style sheet.
func (view) Style() template.CSS { return template.CSS(style) }

// Refresh is after how many seconds the page is loaded anew; 0 for never.
func (v view) Refresh() int { return v.refresh }

// Looked says whether goroutines were asked for.
func (v view) Looked() bool { return v.goroutines }

// Shown are the holders that the page has room for.
func (r gateReport) Shown() []holderReport { return r.Holders[:min(len(r.Holders), maxHolders)] }

// Hidden is how many it has not.
func (r gateReport) Hidden() int { return len(r.Holders) - len(r.Shown()) }

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"n":       thousands,
	"reasons": reasons,
	"s":       func(d time.Duration) seconds { return seconds(d) },
	"anchor":  func(i int) string { return "gate-" + strconv.Itoa(i+1) },
	"width":   func() int { return chartWidth },
	"height":  func() int { return chartHeight },
}).Parse(text))

// reasons returns those for which a class refuses.
func reasons() []gate.Reason {
	return slices.DeleteFunc(gate.Reasons(), func(r gate.Reason) bool { return r == gate.ErrUnknownClass })
}

// thousands gives 1,234,567 for an integer of any type.
func thousands(n any) string {
	s, negative := strings.CutPrefix(fmt.Sprint(n), "-")
	var b strings.Builder
	if negative {
		b.WriteByte('-')
	}
	for i, digit := range s {
		if i > 0 && (len(s)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(digit)
	}
	return b.String()
}
