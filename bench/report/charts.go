package main

import (
	"bytes"
	"fmt"
	"image/color"
	"os"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Colours that are told apart in grey and by the colour-blind.
var colours = []color.Color{
	color.RGBA{0x1b, 0x4f, 0x8a, 0xff},
	color.RGBA{0xe0, 0x8a, 0x1e, 0xff},
	color.RGBA{0x3a, 0x9a, 0x6e, 0xff},
	color.RGBA{0xb0, 0x3a, 0x5b, 0xff},
	color.RGBA{0x6e, 0xb5, 0xe0, 0xff},
	color.RGBA{0x55, 0x55, 0x55, 0xff},
}

// draw makes a chart of each part. That of a part that was not measured stays, if there
// is one.
func (r *results) draw(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, c := range []struct {
		part, file string
		draw       func() (*plot.Plot, error)
	}{
		{peers, "requests.svg", r.requestsChart},
		{peers, "redis.svg", r.redisChart},
		{scale, "sessions.svg", r.sessionsChart},
		{peers, "size.svg", r.sizeChart},
		{load, "load.svg", r.loadChart},
	} {
		if _, err := os.Stat(filepath.Join(dir, c.file)); err == nil && r.rounds[c.part] == 0 {
			continue
		}
		p, err := c.draw()
		if err != nil {
			return fmt.Errorf("%s: %w", c.file, err)
		}
		if err := save(p, filepath.Join(dir, c.file)); err != nil {
			return err
		}
	}
	return nil
}

func newPlot(title, x, y string) *plot.Plot {
	plot.DefaultFont = font.Font{Typeface: "Liberation", Variant: "Sans"}
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	p.Title.Padding = vg.Points(8)
	p.Legend.Top = true
	p.Legend.Padding = vg.Points(3)
	p.Legend.TextStyle.Font.Size = 10
	return p
}

// save writes an SVG whose text has a font on every machine.
func save(p *plot.Plot, file string) error {
	c := vgsvg.New(22*vg.Centimeter, 10*vg.Centimeter)
	p.Draw(draw.Crop(draw.New(c), vg.Points(6), -vg.Points(12), vg.Points(6), -vg.Points(6)))
	var out bytes.Buffer
	if _, err := c.WriteTo(&out); err != nil {
		return err
	}
	text := bytes.ReplaceAll(out.Bytes(), []byte("font-family:Liberation Sans;"), []byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif;"))
	return os.WriteFile(file, text, 0o644)
}

// A series is one colour of a bar chart.
type series struct {
	name   string
	values plotter.Values
}

// bars draws groups of bars with their numbers above them.
func bars(p *plot.Plot, names []string, all ...series) error {
	width := vg.Points(min(34, 440/float64(len(names)*len(all))))
	grid := plotter.NewGrid()
	grid.Vertical.Width = 0
	grid.Horizontal.Color = color.Gray{0xdd}
	p.Add(grid)
	for i, s := range all {
		b, err := plotter.NewBarChart(s.values, width)
		if err != nil {
			return err
		}
		b.LineStyle.Width = 0
		b.Color = colours[i]
		b.Offset = width * vg.Length(float64(i)-float64(len(all)-1)/2)
		p.Add(b)
		if s.name != "" {
			p.Legend.Add(s.name, b)
		}
		var at plotter.XYLabels
		for j, v := range s.values {
			at.XYs = append(at.XYs, plotter.XY{X: float64(j), Y: v})
			at.Labels = append(at.Labels, short(v))
		}
		labels, err := plotter.NewLabels(at)
		if err != nil {
			return err
		}
		labels.Offset = vg.Point{X: b.Offset, Y: vg.Points(2)}
		for j := range labels.TextStyle {
			labels.TextStyle[j].XAlign = draw.XCenter
			labels.TextStyle[j].Font = font.From(plot.DefaultFont, 8)
		}
		p.Add(labels)
		for _, v := range s.values {
			p.Y.Max = max(p.Y.Max, v*1.12)
		}
	}
	p.Y.Min = 0
	p.X.Min, p.X.Max = -0.6, float64(len(names))-0.4
	p.NominalX(names...)
	p.X.Tick.Label.Font.Size = 9
	return nil
}

func short(v float64) string {
	switch {
	case v == 0:
		return ""
	case v < 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.0f", v)
	}
}

// requestsChart is the main one: a request in memory, through all libraries.
func (r *results) requestsChart() (*plot.Plot, error) {
	p := newPlot("A request with a session of six values, in memory: less is better", "", "microseconds a request")
	bar := []struct{ http, lib, text string }{
		{"nethttp", "gensession", "gensession\nnet/http"}, {"nethttp", "scs", "scs\nnet/http"},
		{"fiber-v2", "gensession", "gensession\nFiber v2"}, {"fiber-v2", "fiber-v2-session", "Fiber v2's\nsession"},
		{"fiber-v3", "fiber-v3-session", "Fiber v3's\nsession"},
		{"fasthttp", "gensession", "gensession\nfasthttp"}, {"fasthttp", "fasthttp-session", "fasthttp/\nsession"},
	}
	var names []string
	read, write := series{name: "read one value"}, series{name: "read, add one, save"}
	for _, b := range bar {
		names = append(names, b.text)
		read.values = append(read.values, r.number(peers, peer("memory", "read", 1, b.http, b.lib), seconds, 1e6))
		write.values = append(write.values, r.number(peers, peer("memory", "write", 1, b.http, b.lib), seconds, 1e6))
	}
	return p, bars(p, names, read, write)
}

// number is zero for what was not measured.
func (r *results) number(part, name, unit string, by float64) float64 {
	v, _ := r.at(part, name, unit)
	return v * by
}

func (r *results) redisChart() (*plot.Plot, error) {
	p := newPlot("Sessions in Redis, 64 callers: more is better", "", "thousand requests a second")
	bar := []struct{ http, lib, text string }{
		{"nethttp", "gensession", "gensession\nnet/http"}, {"nethttp", "scs", "scs\nnet/http"}, {"nethttp", "gorilla", "gorilla\nnet/http"},
		{"fiber-v2", "gensession", "gensession\nFiber v2"}, {"fiber-v2", "fiber-v2-session", "Fiber v2's\nsession"},
		{"fiber-v3", "fiber-v3-session", "Fiber v3's\nsession"},
		{"fasthttp", "gensession", "gensession\nfasthttp"}, {"fasthttp", "fasthttp-session", "fasthttp/\nsession"},
	}
	var names []string
	read, write := series{name: "read one value"}, series{name: "read, add one, save"}
	for _, b := range bar {
		names = append(names, b.text)
		for op, s := range map[string]*series{"read": &read, "write": &write} {
			v := 0.0
			if t, ok := r.at(peers, peer("redis", op, 64, b.http, b.lib), seconds); ok {
				v = 1 / t / 1000
			}
			s.values = append(s.values, v)
		}
	}
	return p, bars(p, names, read, write)
}

func (r *results) loadChart() (*plot.Plot, error) {
	p := newPlot("Whole servers, 64 connections with a request each: more is better", "", "thousand requests a second")
	var names []string
	var s series
	for _, l := range loads {
		names = append(names, l.short)
		s.values = append(s.values, r.number(load, l.name, "req/s", 1e-3))
	}
	return p, bars(p, names, s)
}

// line adds a line with points, of what was measured.
func line(p *plot.Plot, i int, name string, at plotter.XYs) error {
	if len(at) == 0 {
		return nil
	}
	l, points, err := plotter.NewLinePoints(at)
	if err != nil {
		return err
	}
	l.Color, points.Color = colours[i], colours[i]
	l.Width = vg.Points(1.5)
	points.Shape = draw.CircleGlyph{}
	p.Add(l, points)
	if name != "" {
		p.Legend.Add(name, l, points)
	}
	return nil
}

// logX makes the axis logarithmic with a mark at each value.
func logX(p *plot.Plot, values []float64, text func(v float64) string) {
	var ticks plot.ConstantTicks
	for _, v := range values {
		ticks = append(ticks, plot.Tick{Value: v, Label: text(v)})
	}
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, ticks
}

func (r *results) sessionsChart() (*plot.Plot, error) {
	p := newPlot("The memory store: a get, and the number of sessions", "sessions", "nanoseconds")
	p.Add(plotter.NewGrid())
	var at plotter.XYs
	var xs []float64
	for _, n := range sessionCounts {
		xs = append(xs, float64(n))
		if t, ok := r.at(scale, fmt.Sprintf("Sessions/op=get/sessions=%d", n), seconds); ok {
			at = append(at, plotter.XY{X: float64(n), Y: t * 1e9})
		}
	}
	err := line(p, 0, "", at)
	p.X.Min, p.X.Max, p.Y.Min = xs[0], xs[len(xs)-1], 0
	p.Y.Max *= 1.2
	logX(p, xs, func(v float64) string { return fmt.Sprintf("%.0f", v) })
	return p, err
}

func (r *results) sizeChart() (*plot.Plot, error) {
	p := newPlot("Reading one value, and the size of the session: less is better", "size of the session, KiB", "microseconds a request")
	p.Add(plotter.NewGrid())
	p.Legend.Top = false
	var xs []float64
	for _, s := range sizes {
		xs = append(xs, float64(s.bytes))
	}
	for i, l := range sizedLibs {
		var at plotter.XYs
		for _, s := range sizes {
			if t, ok := r.at(peers, sized(s.values, s.bytes, l.http, l.lib), seconds); ok {
				at = append(at, plotter.XY{X: float64(s.bytes), Y: t * 1e6})
			}
		}
		if err := line(p, i, l.text, at); err != nil {
			return nil, err
		}
	}
	p.X.Min, p.X.Max = xs[0], xs[len(xs)-1]
	logX(p, xs, func(v float64) string { return fmt.Sprint(v / 1024) })
	if p.Y.Min > 0 && p.Y.Max > p.Y.Min {
		p.Y.Min, p.Y.Max = 1, max(p.Y.Max, 1000)
		p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	}
	return p, nil
}
