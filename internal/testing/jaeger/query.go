package jaeger

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Trace is what Jaeger knows of one, its spans in the order in which they
// began.
type Trace struct {
	ID    string
	Spans []Span
}

// A Span is one of a trace's.
type Span struct {
	ID, Parent string // Parent is "" for the first
	Service    string
	Name       string
	Start      time.Time
	Duration   time.Duration
	Links      []string       // the spans that it leads to
	Tags       map[string]any // float64, int64, bool or string
	Events     int
}

// Trace returns the trace of this number, once Jaeger has it with at least that
// many spans: they arrive some time after they were sent. It returns an error
// when ctx ends before.
func (s *Server) Trace(ctx context.Context, id string, spans int) (Trace, error) {
	last := Trace{}
	for {
		found, err := s.get(ctx, "/api/traces/"+id, nil)
		if err == nil && len(found) == 1 {
			if last = found[0]; len(last.Spans) >= spans {
				return last, nil
			}
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return Trace{}, fmt.Errorf("jaeger: trace %s has %d spans, not yet %d: %w", id, len(last.Spans), spans, ctx.Err())
		}
	}
}

// Find returns up to limit traces of a service with a span of that name, which
// took min at least, the longest first.
func (s *Server) Find(ctx context.Context, service, operation string, min time.Duration, limit int) ([]Trace, error) {
	found, err := s.get(ctx, "/api/traces", url.Values{
		"service": {service}, "operation": {operation}, "minDuration": {min.String()}, "limit": {strconv.Itoa(limit)},
	})
	slices.SortFunc(found, func(a, b Trace) int { return cmp.Compare(b.duration(), a.duration()) })
	return found, err
}

func (t Trace) duration() time.Duration {
	if len(t.Spans) == 0 {
		return 0
	}
	return t.Spans[0].Duration
}

// get asks the API, whose answers are those that Jaeger's own page is made of.
func (s *Server) get(ctx context.Context, path string, query url.Values) ([]Trace, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.query+path+"?"+query.Encode(), nil)
	if err != nil {
		return nil, fmt.Errorf("jaeger: %w", err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("jaeger: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("jaeger: %s: %s", path, answer.Status)
	}
	var body struct{ Data []apiTrace }
	decoder := json.NewDecoder(answer.Body)
	decoder.UseNumber()
	if err := decoder.Decode(&body); err != nil {
		return nil, fmt.Errorf("jaeger: %s: %w", path, err)
	}
	var traces []Trace
	for _, t := range body.Data {
		traces = append(traces, t.trace())
	}
	return traces, nil
}

type apiTrace struct {
	TraceID   string
	Spans     []apiSpan
	Processes map[string]struct{ ServiceName string }
}

type apiSpan struct {
	SpanID, OperationName, ProcessID string
	References                       []struct{ RefType, SpanID string }
	StartTime, Duration              int64 // in microseconds
	Tags                             []struct {
		Key, Type string
		Value     any
	}
	Logs []any
}

func (t apiTrace) trace() Trace {
	trace := Trace{ID: t.TraceID}
	for _, s := range t.Spans {
		span := Span{
			ID:       s.SpanID,
			Service:  t.Processes[s.ProcessID].ServiceName,
			Name:     s.OperationName,
			Start:    time.UnixMicro(s.StartTime),
			Duration: time.Duration(s.Duration) * time.Microsecond,
			Tags:     make(map[string]any),
			Events:   len(s.Logs),
		}
		for _, r := range s.References {
			if r.RefType == "CHILD_OF" {
				span.Parent = r.SpanID
			} else {
				span.Links = append(span.Links, r.SpanID)
			}
		}
		for _, tag := range s.Tags {
			span.Tags[tag.Key] = value(tag.Type, tag.Value)
		}
		trace.Spans = append(trace.Spans, span)
	}
	slices.SortStableFunc(trace.Spans, func(a, b Span) int { return a.Start.Compare(b.Start) })
	return trace
}

func value(kind string, v any) any {
	if n, ok := v.(json.Number); ok {
		if kind == "int64" {
			i, _ := n.Int64()
			return i
		}
		f, _ := n.Float64()
		return f
	}
	return v
}

// width is how many columns the time of a trace takes in its String.
const width = 50

// String draws the trace: a line for each span, from left to right as time goes.
func (t Trace) String() string {
	if len(t.Spans) == 0 {
		return ""
	}
	begin, end := t.Spans[0].Start, t.Spans[0].Start
	for _, s := range t.Spans {
		if e := s.Start.Add(s.Duration); e.After(end) {
			end = e
		}
	}
	whole := max(end.Sub(begin), 1)
	column := func(at time.Time) int { return int(int64(width-1) * int64(at.Sub(begin)) / int64(whole)) }
	var b strings.Builder
	for _, s := range t.Spans {
		from, to := column(s.Start), column(s.Start.Add(s.Duration))
		bar := strings.Repeat(" ", from) + strings.Repeat("█", to-from+1) + strings.Repeat(" ", width-1-to)
		name := strings.Repeat("  ", t.depth(s)) + s.Name
		fmt.Fprintf(&b, "%-32s│%s│ %8.1f ms", name, bar, float64(s.Duration)/float64(time.Millisecond))
		if kind, ok := s.Tags["error.type"]; ok {
			fmt.Fprintf(&b, " %v", kind)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func (t Trace) depth(s Span) int {
	depth := 0
	for s.Parent != "" && depth < len(t.Spans) {
		i := slices.IndexFunc(t.Spans, func(p Span) bool { return p.ID == s.Parent })
		if i < 0 {
			break
		}
		s = t.Spans[i]
		depth++
	}
	return depth
}
