//! From a request to its answer, over any source of samples; no HTTP here, and no clock.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::envelope::{ApiError, ErrorKind};
use super::params::QueryRequest;
use super::values::Answer;
use crate::promql::ast::ValueType;
use crate::promql::{Annotations, Engine, EvalError, ParseOptions, PlannedQuery, Plans, Severity, Source, place};

/// Warnings in one answer, and infos; how many more there are stands behind them.
const NOTES_MAX: usize = 10;

/// Evaluates until `is_over` says that time has run out. Of `plans` come the expression and what was worked out for it before.
pub fn evaluate(
    source: &dyn Source,
    (engine, plans): (&Engine, &Plans),
    options: &ParseOptions,
    request: &QueryRequest,
    is_over: &dyn Fn() -> bool,
) -> Result<Answer, ApiError> {
    let query = query_of(request, plans, options)?;
    let engine = Engine { lookback: request.lookback.unwrap_or(engine.lookback), ..*engine };
    let evaluated =
        plans.with_plan(&query, |plan| engine.evaluate_planned(source, &query.expr, request.steps, plan, is_over));
    let outcome = evaluated.map_err(|error| api_error(&error))?;
    let notes = |severity| notes_of(&outcome.annotations, severity, &request.source);
    let (mut warnings, infos) = (notes(Severity::Warning), notes(Severity::Info));
    warnings.extend(source.warnings());
    Ok(Answer::new(outcome.value, request.steps, request.is_range, request.limit).with_notes(warnings, infos))
}

fn query_of(request: &QueryRequest, plans: &Plans, options: &ParseOptions) -> Result<Arc<PlannedQuery>, ApiError> {
    let source = &request.source;
    let query = plans.query(source, options).map_err(|fault| ApiError::parameter("query", fault.in_source(source)))?;
    let kind = match query.expr.value_type() {
        ValueType::String => "string",
        ValueType::Matrix => "range vector",
        ValueType::Scalar | ValueType::Vector => return Ok(query),
    };
    if request.is_range {
        let fault =
            format_args!("invalid expression type \"{kind}\" for range query, must be Scalar or instant Vector");
        return Err(ApiError::parameter("query", fault));
    }
    Ok(query)
}

fn api_error(error: &EvalError) -> ApiError {
    let kind = match error {
        EvalError::TimedOut => ErrorKind::Timeout,
        _ => ErrorKind::Execution,
    };
    ApiError::new(kind, error)
}

/// Remarks with their places. One that was made at several is shown once, at the last, as Prometheus does, whose remarks know
/// each other by their text.
fn notes_of(annotations: &Annotations, severity: Severity, source: &str) -> Vec<String> {
    let of_kind = annotations.iter().filter(|note| note.severity == severity);
    let by_text: BTreeMap<&str, u32> = of_kind.map(|note| (note.text.as_str(), note.place.0)).collect();
    let (prefix, kind) = match severity {
        Severity::Warning => ("PromQL warning", "warning"),
        Severity::Info => ("PromQL info", "info"),
    };
    let shown = by_text.iter().take(NOTES_MAX).map(|(text, start)| {
        let (line, column) = place(source, *start);
        format!("{prefix}: {text} ({line}:{column})")
    });
    let omitted = by_text.len().saturating_sub(NOTES_MAX);
    let rest = (omitted > 0).then(|| format!("{omitted} more {kind} annotations omitted"));
    shown.chain(rest).collect()
}
