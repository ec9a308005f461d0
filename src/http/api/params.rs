//! The parameters of a query, read as Prometheus 3.5 reads them and refused in its words.
//!
//! A POST's form stands before the URL's query; of a parameter that is there twice the first counts, and an empty one is one
//! that is not there. Times are seconds or RFC 3339, durations seconds or PromQL's. Beyond Prometheus: steps under a
//! millisecond are refused (there the evaluation fails), times are cut to ±73 million years so that no sum overflows.

use std::num::{IntErrorKind, ParseIntError};
use std::time::Duration;

use super::envelope::{ApiError, ErrorKind};
use crate::http::selectors::parse_form;
use crate::model::{Timestamp, parse_duration};
use crate::promql::Steps;

/// Steps of one range query: a minute apart for a week, an hour for a year.
const POINTS_MAX: i128 = 11_000;
/// Times are cut to this distance from 1970.
const TIME_MAX_MS: i64 = i64::MAX / 4;
const NANOS_PER_SECOND: f64 = 1e9;
const NANOS_PER_MILLI: i64 = 1_000_000;

/// What was sent, in the order in which it counts.
#[derive(Debug, Default)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// Reads a body that is a form, and what stands behind the `?`.
    pub fn parse(body: &str, query: &str) -> Result<Params, ApiError> {
        let bad = |fault| ApiError::new(ErrorKind::BadData, format_args!("error parsing form values: {fault}"));
        let mut pairs = parse_form(body).map_err(bad)?;
        pairs.extend(parse_form(query).map_err(bad)?);
        Ok(Params(pairs))
    }

    /// The first value of a name; empty where there is none.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(own, _)| own == name).map_or("", |(_, value)| value)
    }

    /// All values of a name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

/// A query that can be begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryRequest {
    /// The expression as it was sent.
    pub source: String,
    /// The times to evaluate it at.
    pub steps: Steps,
    /// Whether the answer is a range, though of one step.
    pub is_range: bool,
    /// Most rows of the answer; 0 is all.
    pub limit: usize,
    /// How long the client would wait, if it said so.
    pub timeout: Option<Duration>,
    /// How old a sample may be, in milliseconds, if not the server's own lookback.
    pub lookback: Option<i64>,
}

impl QueryRequest {
    /// Of `/api/v1/query`; `now` is the time of one that names none.
    pub fn instant(params: &Params, now: Timestamp) -> Result<QueryRequest, ApiError> {
        let limit = limit_of(params)?;
        let time = match params.get("time") {
            "" => now,
            text => parse_time(text)
                .map_err(|fault| ApiError::parameter("time", format_args!("invalid time value for 'time': {fault}")))?,
        };
        let timeout = timeout_of(params)?;
        let lookback = lookback_of(params)?;
        let source = params.get("query").to_owned();
        Ok(QueryRequest { source, steps: Steps::instant(time), is_range: false, limit, timeout, lookback })
    }

    /// Of `/api/v1/query_range`.
    pub fn range(params: &Params) -> Result<QueryRequest, ApiError> {
        let limit = limit_of(params)?;
        let time = |name: &str| parse_time(params.get(name)).map_err(|fault| ApiError::parameter(name, fault));
        let (start, end) = (time("start")?, time("end")?);
        if end < start {
            return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
        }
        let steps = steps_of(start, end, params.get("step"))?;
        let timeout = timeout_of(params)?;
        let lookback = lookback_of(params)?;
        let source = params.get("query").to_owned();
        Ok(QueryRequest { source, steps, is_range: true, limit, timeout, lookback })
    }
}

fn steps_of(start: Timestamp, end: Timestamp, text: &str) -> Result<Steps, ApiError> {
    let nanos = parse_nanos(text).map_err(|fault| ApiError::parameter("step", fault))?;
    if nanos <= 0 {
        let refusal = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(ApiError::parameter("step", refusal));
    }
    let length = i128::from(end.0 - start.0) * i128::from(NANOS_PER_MILLI);
    if length / i128::from(nanos) > POINTS_MAX {
        let refusal = "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution \
                       (?step=XX)";
        return Err(ApiError::new(ErrorKind::BadData, refusal));
    }
    let step = nanos / NANOS_PER_MILLI;
    if step == 0 {
        return Err(ApiError::parameter("step", format_args!("{text:?} is below a millisecond")));
    }
    let count = u32::try_from((end.0 - start.0) / step + 1).expect("bounded above");
    Ok(Steps { start, step, count })
}

fn limit_of(params: &Params) -> Result<usize, ApiError> {
    let text = params.get("limit");
    if text.is_empty() {
        return Ok(0);
    }
    let bad = |fault: &dyn std::fmt::Display| ApiError::parameter("limit", fault);
    let limit: i64 = text.parse().map_err(|error: ParseIntError| {
        let is_beyond = matches!(error.kind(), IntErrorKind::PosOverflow | IntErrorKind::NegOverflow);
        let reason = if is_beyond { "value out of range" } else { "invalid syntax" };
        bad(&format_args!("strconv.Atoi: parsing {text:?}: {reason}"))
    })?;
    usize::try_from(limit).map_err(|_| bad(&"limit must be non-negative"))
}

fn timeout_of(params: &Params) -> Result<Option<Duration>, ApiError> {
    let text = params.get("timeout");
    if text.is_empty() {
        return Ok(None);
    }
    let nanos = parse_nanos(text).map_err(|fault| ApiError::parameter("timeout", fault))?;
    Ok(Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))))
}

fn lookback_of(params: &Params) -> Result<Option<i64>, ApiError> {
    let text = params.get("lookback_delta");
    if text.is_empty() {
        return Ok(None);
    }
    let bad = |fault| ApiError::new(ErrorKind::BadData, format_args!("error parsing lookback delta duration: {fault}"));
    let millis = parse_nanos(text).map_err(bad)? / NANOS_PER_MILLI;
    Ok((millis > 0).then_some(millis))
}

/// Reads seconds since 1970, of which what is below a millisecond is cut, or RFC 3339.
pub fn parse_time(text: &str) -> Result<Timestamp, String> {
    let cut = |millis: i128| {
        let max = i128::from(TIME_MAX_MS);
        Timestamp(millis.clamp(-max, max) as i64)
    };
    if let Some(seconds) = parse_number(text) {
        // The order of roundings is that of Prometheus: the fraction first, then nanoseconds, then a cut.
        let fraction = (seconds.fract() * 1000.0).round() / 1000.0;
        let nanos = i128::from(seconds.trunc() as i64) * 1_000_000_000 + (fraction * NANOS_PER_SECOND) as i128;
        return Ok(cut(nanos.div_euclid(i128::from(NANOS_PER_MILLI))));
    }
    let is_form = text.as_bytes().get(10) == Some(&b'T');
    let parsed = text.parse::<jiff::Timestamp>().ok().filter(|_| is_form);
    let parsed = parsed.map(|time| cut(time.as_nanosecond().div_euclid(i128::from(NANOS_PER_MILLI))));
    parsed.ok_or_else(|| format!("cannot parse {text:?} to a valid timestamp"))
}

/// Reads seconds or a duration like `1h30m`; nanoseconds, which may be negative.
fn parse_nanos(text: &str) -> Result<i64, String> {
    if let Some(seconds) = parse_number(text) {
        let nanos = seconds * NANOS_PER_SECOND;
        if nanos.abs() > i64::MAX as f64 {
            return Err(format!("cannot parse {text:?} to a valid duration. It overflows int64"));
        }
        return Ok(nanos as i64);
    }
    let parsed = parse_duration(text).ok().and_then(|duration| i64::try_from(duration.as_nanos()).ok());
    parsed.ok_or_else(|| format!("cannot parse {text:?} to a valid duration"))
}

/// A number as Go reads it; one too great for a float is none.
fn parse_number(text: &str) -> Option<f64> {
    let number: f64 = text.parse().ok()?;
    let is_overflow = number.is_infinite() && text.contains(|c: char| c.is_ascii_digit());
    (!is_overflow && !number.is_nan()).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(form: &str) -> Result<QueryRequest, String> {
        QueryRequest::range(&Params::parse(form, "").unwrap()).map_err(|error| error.text)
    }

    #[test]
    fn the_body_counts_before_the_url() {
        let params = Params::parse("query=a&query=b", "query=c&time=5").unwrap();
        let request = QueryRequest::instant(&params, Timestamp(7)).unwrap();
        assert_eq!((request.source.as_str(), request.steps), ("a", Steps::instant(Timestamp(5_000))));
        let request = QueryRequest::instant(&Params::default(), Timestamp(7)).unwrap();
        assert_eq!(request.steps, Steps::instant(Timestamp(7)));
    }

    #[test]
    fn times_are_seconds_or_rfc_3339() {
        let cases = [
            ("1435781451.781", 1_435_781_451_781),
            ("1435781451.7815", 1_435_781_451_782),
            ("-0.5", -500),
            ("1e3", 1_000_000),
            ("2015-07-01T20:10:51.781Z", 1_435_781_451_781),
            ("2015-07-01T22:10:51+02:00", 1_435_781_451_000),
            ("1e300", TIME_MAX_MS),
        ];
        for (text, millis) in cases {
            assert_eq!(parse_time(text), Ok(Timestamp(millis)), "{text}");
        }
        for text in ["", "now", "2015-07-01", "2015-07-01 20:10:51Z", "NaN", "1e999"] {
            assert_eq!(parse_time(text), Err(format!("cannot parse {text:?} to a valid timestamp")));
        }
    }

    #[test]
    fn a_range_has_its_steps() {
        let request = range("query=up&start=10&end=21&step=5&limit=3&timeout=2m&lookback_delta=1m").unwrap();
        assert_eq!(request.steps, Steps { start: Timestamp(10_000), step: 5_000, count: 3 });
        assert_eq!((request.limit, request.timeout), (3, Some(Duration::from_secs(120))));
        assert_eq!(request.lookback, Some(60_000));
        assert_eq!(range("query=up&start=0&end=11000&step=1").unwrap().steps.count, 11_001);
    }

    #[test]
    fn refusals_are_in_prometheus_words() {
        for (form, text) in [
            ("end=1&step=1", "invalid parameter \"start\": cannot parse \"\" to a valid timestamp"),
            ("start=2&end=1&step=1", "invalid parameter \"end\": end timestamp must not be before start time"),
            ("start=0&end=1&step=x", "invalid parameter \"step\": cannot parse \"x\" to a valid duration"),
            (
                "start=0&end=1&step=0",
                "invalid parameter \"step\": zero or negative query resolution step widths are not accepted. Try a positive integer",
            ),
            (
                "start=0&end=11001&step=1",
                "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
            ),
            (
                "start=0&end=1&step=1e20",
                "invalid parameter \"step\": cannot parse \"1e20\" to a valid duration. It overflows int64",
            ),
            (
                "limit=-9223372036854775809",
                "invalid parameter \"limit\": strconv.Atoi: parsing \"-9223372036854775809\": value out of range",
            ),
            ("limit=x", "invalid parameter \"limit\": strconv.Atoi: parsing \"x\": invalid syntax"),
            ("limit=-1", "invalid parameter \"limit\": limit must be non-negative"),
            (
                "start=0&end=1&step=1&lookback_delta=x",
                "error parsing lookback delta duration: cannot parse \"x\" to a valid duration",
            ),
        ] {
            assert_eq!(range(form).unwrap_err(), text, "{form}");
        }
    }
}
