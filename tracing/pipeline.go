package tracing

import (
	"context"

	"github.com/XSAM/otelsql"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/poolgate/poolgate/poolgate"
)

// methodBatch names the span and the measurement of a pipeline, as otelsql names
// those of other calls.
const methodBatch otelsql.Method = "sql.conn.batch"

// CanPipeline returns nil if the driver's connection has a pipeline.
func (c *directConn) CanPipeline() error {
	if inner, ok := c.inner.(poolgate.Pipeliner); ok {
		return inner.CanPipeline()
	}
	return poolgate.ErrNoPipeline
}

// SendPipeline sends p. It is one span and one measurement, until the results are
// closed: the server does not say when it begins and ends each statement.
func (c *directConn) SendPipeline(ctx context.Context, p poolgate.Pipeline) (poolgate.PipelineResults, error) {
	inner, ok := c.inner.(poolgate.Pipeliner)
	if !ok {
		return nil, poolgate.ErrNoPipeline
	}
	var span trace.Span
	if !c.silent(ctx) {
		text, size := p.Describe()
		s := c.connector.settings
		ctx, span = tracerProvider{s.traces}.Tracer(scope, trace.WithSchemaURL(semconv.SchemaURL)).Start(ctx, string(methodBatch),
			trace.WithSpanKind(trace.SpanKindClient),
			trace.WithAttributes(s.statementAttributes(ctx, methodBatch, text, nil)...))
		if size > 1 { // a batch of one is none, say the conventions
			span.SetAttributes(semconv.DBOperationBatchSize(size))
		}
	}
	start := c.connector.durations.now()
	end := func(err error) {
		c.connector.durations.since(ctx, methodBatch, start, err)
		if span == nil {
			return
		}
		if err != nil {
			fail(span, err)
		}
		span.End()
	}
	results, err := inner.SendPipeline(ctx, p)
	if err != nil {
		end(err)
		return nil, err
	}
	return &pipelineResults{PipelineResults: results, end: end}, nil
}

type pipelineResults struct {
	poolgate.PipelineResults
	end func(error) // nil once it was called
}

func (r *pipelineResults) Close() error {
	err := r.PipelineResults.Close()
	if r.end != nil {
		r.end(err)
		r.end = nil
	}
	return err
}
