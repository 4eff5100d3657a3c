package overload

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"
)

// A Report is everything that was found out.
type Report struct {
	Started  time.Time     `json:"started"`
	Ways     []Way         `json:"ways"`
	Deadline time.Duration `json:"deadline_ns"`
	Warmup   time.Duration `json:"warmup_ns"`
	Window   time.Duration `json:"window_ns"`
	WebShare float64       `json:"web_share"`
	Seed     uint64        `json:"seed"`

	Server string `json:"server_version"`
	CPUs   int    `json:"client_cpus"`
	Go     string `json:"go"`
	OS     string `json:"os"`
	Arch   string `json:"arch"`

	Servers []Capability `json:"capability"`
	Runs    []Run        `json:"runs"`
}

// A Capability is what the server can do of a workload.
type Capability struct {
	Workload Workload `json:"workload"`
	Query    string   `json:"query"`
	Limit    int      `json:"limit"` // connections

	// Throughput is how many queries it does in a second while it is never
	// idle and nobody waits for another: the multiples are multiples of this.
	Throughput float64 `json:"throughput"`
}

func newReport(config Config, version string) *Report {
	return &Report{
		Started:  time.Now(),
		Ways:     config.Ways,
		Deadline: config.Deadline,
		Warmup:   config.Warmup,
		Window:   config.Window,
		WebShare: config.WebShare,
		Seed:     config.Seed,
		Server:   version,
		CPUs:     runtime.NumCPU(),
		Go:       runtime.Version(),
		OS:       runtime.GOOS,
		Arch:     runtime.GOARCH,
	}
}

// runs returns the runs of a workload: those where the web is watched, or the
// others.
func (r *Report) runs(w Workload, classes bool) []Run {
	var runs []Run
	for _, run := range r.Runs {
		// Where the web is watched it comes first without the batch.
		watched := len(run.Requests) > 1 || run.Multiple == r.WebShare
		if run.Workload == w && watched == classes {
			runs = append(runs, run)
		}
	}
	return runs
}

// Capacity returns the most that a way has answered in time in a second, at
// whatever rate: the goodput at its best.
func (r *Report) Capacity(w Workload, way Way) float64 {
	most := 0.0
	for _, run := range r.runs(w, false) {
		if run.Way == way {
			most = max(most, run.Requests[0].Goodput)
		}
	}
	return most
}

// Print writes the report as text.
func (r *Report) Print(w io.Writer) error {
	for _, c := range r.Servers {
		fmt.Fprintf(w, "%s: %s\n%d connections do %.0f in a second; each request has %v, and comes at a random moment\n\n",
			c.Workload, c.Query, c.Limit, c.Throughput, r.Deadline)
		r.printGoodput(w, c)
		r.printWeb(w, c)
	}
	_, err := fmt.Fprintf(w, "PostgreSQL %s and the client on one machine or two; client on %d CPUs, %s, %s/%s\n",
		r.Server, r.CPUs, r.Go, r.OS, r.Arch)
	return err
}

func (r *Report) printGoodput(w io.Writer, c Capability) {
	runs := r.runs(c.Workload, false)
	if len(runs) == 0 {
		return
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "offered\tby\tin time/s\tof its best\tlate\trefused\ttimed out\tfailed\tp50 ms\tp99 ms\tsent late p99 ms\tmax\t")
	for _, run := range runs {
		q := run.Requests[0]
		share := func(n int) string { return fmt.Sprintf("%.1f %%", 100*float64(n)/float64(max(1, q.Offered))) }
		fmt.Fprintf(t, "%g×\t%s\t%.0f\t%.0f %%\t%s\t%s\t%s\t%s\t%.1f\t%.1f\t%.1f\t%.1f\t\n",
			run.Multiple, run.Way, q.Goodput, 100*q.Goodput/r.Capacity(c.Workload, run.Way),
			share(q.Late), share(q.Refused), share(q.TimedOut), share(q.Failed), q.P50, q.P99, q.LagP99, q.LagMax)
	}
	t.Flush()
	fmt.Fprintln(w)
	for _, run := range runs {
		if q := run.Requests[0]; q.Failed > 0 {
			fmt.Fprintf(w, "%g× %s: %d failed, such as: %s\n", run.Multiple, run.Way, q.Failed, q.Error)
		}
	}
}

// A watched is what the web saw, in one of the rounds in the middle.
type watched struct {
	way      Way
	multiple float64
	alone    bool
	p50, p99 float64
	web      float64 // share that was answered in time
	goodput  float64 // of web and batch together
}

// web returns what the web saw by way and multiple: the median of the rounds.
func (r *Report) web(w Workload) []watched {
	groups := map[[2]any][]watched{}
	var order [][2]any
	for _, run := range r.runs(w, true) {
		q := run.Requests[0]
		one := watched{
			way: run.Way, multiple: run.Multiple, alone: len(run.Requests) == 1,
			p50: q.P50, p99: q.P99, web: float64(q.InTime) / float64(max(1, q.Offered)), goodput: q.Goodput,
		}
		if !one.alone {
			one.goodput += run.Requests[1].Goodput
		}
		key := [2]any{run.Way, run.Multiple}
		if groups[key] == nil {
			order = append(order, key)
		}
		groups[key] = append(groups[key], one)
	}
	var all []watched
	for _, key := range order {
		group := groups[key]
		slices.SortFunc(group, func(a, b watched) int { return cmp.Compare(a.p99, b.p99) })
		all = append(all, group[len(group)/2])
	}
	return all
}

func (r *Report) printWeb(w io.Writer, c Capability) {
	web := r.web(c.Workload)
	if len(web) == 0 {
		return
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "web %g×, with batch\tby\tweb p50 ms\tweb p99 ms\tof alone\tweb in time\tboth in time/s\t\n", r.WebShare)
	alone := map[Way]float64{}
	for _, one := range web {
		load := fmt.Sprintf("%g× in all", one.multiple)
		if one.alone {
			alone[one.way] = one.p99
			load = "alone"
		}
		fmt.Fprintf(t, "%s\t%s\t%.1f\t%.1f\t%.2f\t%.1f %%\t%.0f\t\n",
			load, one.way, one.p50, one.p99, one.p99/alone[one.way], 100*one.web, one.goodput)
	}
	t.Flush()
	fmt.Fprintln(w)
}

// Write writes the report into the folder, which it creates if need be: as JSON
// and as pictures. It returns the paths of the files, and replaces those of an
// earlier report. A report without runs is not written, and replaces nothing.
func (r *Report) Write(folder string) (files []string, err error) {
	if len(r.Runs) == 0 {
		return nil, nil
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return nil, err
	}
	name := filepath.Join(folder, "report.json")
	if err := os.WriteFile(name, append(text, '\n'), 0o644); err != nil {
		return nil, err
	}
	pictures, err := r.plot(folder)
	return append([]string{name}, pictures...), err
}
