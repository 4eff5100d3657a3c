package debugpage

import (
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"slices"
	"strings"
	"time"

	"github.com/poolgate/poolgate/poolgate/gate"
)

// maxHolders is how many holders of each gate the page shows. The JSON has all.
const maxHolders = 200

//go:embed page.css
var style string

//go:embed page.html
var text string

// policy makes a browser load nothing from elsewhere, run no script, and use no
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

// Style returns the style sheet.
func (view) Style() template.CSS { return template.CSS(style) }

// Refresh returns after how many seconds the page loads itself again, 0 for never.
func (v view) Refresh() int { return v.refresh }

// Looked reports whether goroutines were asked for.
func (v view) Looked() bool { return v.goroutines }

// Ordered returns the gates, those with alarms first.
func (v view) Ordered() []gateReport {
	gates := slices.Clone(v.Gates)
	slices.SortStableFunc(gates, func(a, b gateReport) int {
		return cmp.Compare(min(1, len(b.alarms())), min(1, len(a.alarms())))
	})
	return gates
}

// Alarms returns how many gates have alarms.
func (v view) Alarms() int {
	n := 0
	for _, g := range v.Gates {
		n += min(1, len(g.alarms()))
	}
	return n
}

// State names the class of the gate's link: an alarm, something to know, or
// nothing.
func (r gateReport) State() string {
	switch {
	case len(r.alarms()) > 0:
		return "alarm"
	case len(r.Notes) > 0:
		return "info"
	}
	return "well"
}

// Worst returns the first alarm, and how many more there are.
func (r gateReport) Worst() string { return r.alarms()[0].Text }

// More returns how many alarms there are besides the worst.
func (r gateReport) More() int { return len(r.alarms()) - 1 }

// Shown returns the holders that the page has room for.
func (r gateReport) Shown() []holderReport { return r.Holders[:min(len(r.Holders), maxHolders)] }

// Hidden returns how many holders the page has no room for.
func (r gateReport) Hidden() int { return len(r.Holders) - len(r.Shown()) }

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"n":       thousands,
	"reasons": reasons,
	"s":       func(d time.Duration) seconds { return seconds(d) },
	"width":   func() int { return chartWidth },
	"height":  func() int { return chartHeight },
}).Parse(text))

// reasons returns the reasons for which a class refuses.
func reasons() []gate.Reason {
	return slices.DeleteFunc(gate.Reasons(), func(r gate.Reason) bool { return r == gate.ErrUnknownClass })
}

// thousands formats an integer of any type as 1,234,567.
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
