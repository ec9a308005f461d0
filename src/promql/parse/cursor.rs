//! What stands between the operators, read from the tokens: selectors, label lists, durations, `offset` and `@`.
//!
//! Every refusal names the token that was unexpected, in Prometheus's words, and stands at its place.

use std::sync::Arc;

use super::number;
use super::quote::unquote;
use super::spell::is_metric_name;
use super::token::{Keyword, Kind, Token, Tokens};
use super::{ParseError, refused};
use crate::model::{METRIC_NAME, MatchOp, Matcher, Timestamp};
use crate::promql::ast::{At, BinaryOp, Cardinality, Grouping, Matching, Shift, Span, VectorSelector};

/// A position among the tokens.
pub(super) struct Cursor<'t, 's> {
    pub(super) tokens: &'t Tokens<'s>,
    pub(super) at: usize,
    /// Aggregations whose parentheses are open: what has no other context is unexpected in the innermost of them.
    pub(super) aggregations: usize,
}

/// What stands in brackets.
pub(super) struct Brackets {
    /// Milliseconds.
    pub(super) range: i64,
    /// With a colon: a subquery, perhaps with a step in milliseconds.
    pub(super) step: Option<Option<i64>>,
}

/// `bool`, `on`, `ignoring` and `group_…` behind an operator.
pub(super) struct Modifiers {
    pub(super) returns_bool: bool,
    pub(super) matching: Matching,
}

impl<'s> Cursor<'_, 's> {
    /// The token that comes next; the last one again and again.
    pub(super) fn peek(&self) -> Token {
        self.ahead(0)
    }

    pub(super) fn ahead(&self, tokens: usize) -> Token {
        let list = &self.tokens.list;
        list[(self.at + tokens).min(list.len() - 1)]
    }

    pub(super) fn next(&mut self) -> Token {
        let token = self.peek();
        self.at += 1;
        token
    }

    pub(super) fn take(&mut self, kind: Kind) -> bool {
        let is_next = self.peek().kind == kind;
        self.at += usize::from(is_next);
        is_next
    }

    pub(super) fn expect(&mut self, kind: Kind, context: &str, expected: &str) -> Result<Token, ParseError> {
        if self.peek().kind == kind { Ok(self.next()) } else { Err(self.unexpected(context, expected)) }
    }

    /// Behind the last token that was taken.
    pub(super) fn end(&self) -> u32 {
        self.at.checked_sub(1).map_or(0, |last| self.tokens.list[last].span.end)
    }

    /// From a place up to the last token that was taken.
    pub(super) fn since(&self, start: u32) -> Span {
        Span { start, end: self.end() }
    }

    pub(super) fn text(&self, token: Token) -> &'s str {
        self.tokens.text(token.span)
    }

    fn next_text(&mut self) -> &'s str {
        let token = self.next();
        self.text(token)
    }

    /// The next token stands where it may not. Where the source stops making tokens, that is the fault.
    pub(super) fn unexpected(&self, context: &str, expected: &str) -> ParseError {
        let token = self.peek();
        match &self.tokens.fault {
            Some(fault) if token.kind == Kind::Fault => fault.clone(),
            _ => {
                let context = if context.is_empty() && self.aggregations > 0 { "aggregation" } else { context };
                let context = if context.is_empty() { String::new() } else { format!(" in {context}") };
                let expected = if expected.is_empty() { String::new() } else { format!(", expected {expected}") };
                refused(token.span, format!("unexpected {}{context}{expected}", self.described(token)))
            }
        }
    }

    fn described(&self, token: Token) -> String {
        let text = self.text(token);
        match token.kind {
            Kind::End | Kind::Fault => "end of input".to_owned(),
            Kind::Identifier => format!("identifier {text:?}"),
            Kind::MetricIdentifier => format!("metric identifier {text:?}"),
            Kind::Number => format!("number {}", shortened(text)),
            Kind::Duration => format!("duration {}", shortened(text)),
            Kind::String => format!("string {}", shortened(text)),
            Kind::Keyword(_) => format!("<{text}>"),
            Kind::Aggregator(_) => format!("<aggr:{text}>"),
            Kind::Operator(_) | Kind::Matches | Kind::MatchesNot | Kind::At => format!("<op:{text}>"),
            _ => format!("{text:?}"),
        }
    }

    pub(super) fn string(&mut self, context: &str) -> Result<String, ParseError> {
        let token = self.expect(Kind::String, context, "string")?;
        Ok(unquote(self.text(token)))
    }

    /// A number's or a duration's seconds.
    pub(super) fn number(&mut self) -> Result<f64, ParseError> {
        let token = self.next();
        let text = self.text(token);
        if token.kind == Kind::Duration {
            let duration = number::duration(text).map_err(|text| refused(token.span, text))?;
            return Ok(duration.as_secs_f64());
        }
        let go_error = |reason| format!("error parsing number: strconv.ParseFloat: parsing {text:?}: {reason}");
        number::value(text).map_err(|reason| refused(token.span, go_error(reason)))
    }

    /// A name, or braces, or both. Whether that selects everything is not asked here.
    pub(super) fn selector(&mut self) -> Result<VectorSelector, ParseError> {
        let mut matchers = Vec::new();
        let named = self.peek().kind != Kind::LeftBrace;
        if named {
            let name = self.next();
            matchers.push(equal(METRIC_NAME, self.text(name), name)?);
        }
        if self.take(Kind::LeftBrace) {
            self.matchers(&mut matchers)?;
        }
        Ok(VectorSelector { named, matchers, shift: Shift::default() })
    }

    /// Behind the left brace.
    fn matchers(&mut self, matchers: &mut Vec<Matcher>) -> Result<(), ParseError> {
        while !self.take(Kind::RightBrace) {
            matchers.push(self.matcher()?);
            if !self.take(Kind::Comma) && self.peek().kind != Kind::RightBrace {
                return Err(self.unexpected("label matching", "\",\" or \"}\""));
            }
        }
        Ok(())
    }

    fn matcher(&mut self) -> Result<Matcher, ParseError> {
        let name = self.peek();
        let label = match name.kind {
            Kind::Identifier => self.next_text().to_owned(),
            Kind::String => self.string("")?,
            _ => return Err(self.unexpected("label matching", "identifier or \"}\"")),
        };
        let op = match self.peek().kind {
            Kind::Assign => MatchOp::Equal,
            Kind::Operator(BinaryOp::NotEqual) => MatchOp::NotEqual,
            Kind::Matches => MatchOp::Regex,
            Kind::MatchesNot => MatchOp::NotRegex,
            _ if name.kind == Kind::String => return equal(METRIC_NAME, &label, name),
            _ => return Err(self.unexpected("label matching", "label matching operator")),
        };
        self.next();
        let value = self.string("label matching")?;
        Matcher::new(&label, op, &value).map_err(|error| refused(self.since(name.span.start), error.to_string()))
    }

    /// `(a, b)`
    pub(super) fn labels(&mut self) -> Result<Arc<[Arc<str>]>, ParseError> {
        const CONTEXT: &str = "grouping opts";
        self.expect(Kind::LeftParen, CONTEXT, "\"(\"")?;
        let mut labels = Vec::new();
        while !self.take(Kind::RightParen) {
            labels.push(self.label(CONTEXT)?);
            if !self.take(Kind::Comma) && self.peek().kind != Kind::RightParen {
                return Err(self.unexpected(CONTEXT, "\",\" or \")\""));
            }
        }
        Ok(labels.into())
    }

    fn label(&mut self, context: &str) -> Result<Arc<str>, ParseError> {
        let token = self.peek();
        let label = match token.kind {
            Kind::String => self.string("")?,
            // Of the keywords these two are no names of labels, which looks like an oversight there.
            Kind::Keyword(Keyword::Without) => return Err(self.unexpected(context, "label")),
            Kind::Operator(op) if !op.is_word() => return Err(self.unexpected(context, "label")),
            Kind::Identifier
            | Kind::MetricIdentifier
            | Kind::Keyword(_)
            | Kind::Aggregator(_)
            | Kind::Preprocessor
            | Kind::Operator(_) => self.next_text().to_owned(),
            _ => return Err(self.unexpected(context, "label")),
        };
        if label.is_empty() {
            return Err(refused(token.span, format!("invalid label name for grouping: {label:?}")));
        }
        Ok(label.into())
    }

    /// `by (…)` or `without (…)`, where it stands.
    pub(super) fn grouping(&mut self) -> Result<Option<Grouping>, ParseError> {
        match self.peek().kind {
            Kind::Keyword(Keyword::By) => {
                self.next();
                self.labels().map(|labels| Some(Grouping::By(labels)))
            }
            Kind::Keyword(Keyword::Without) => {
                self.next();
                self.labels().map(|labels| Some(Grouping::Without(labels)))
            }
            _ => Ok(None),
        }
    }

    /// What stands between an operator and its right side.
    pub(super) fn modifiers(&mut self, op: BinaryOp) -> Result<Modifiers, ParseError> {
        let returns_bool = self.take(Kind::Keyword(Keyword::Bool));
        let cardinality = if op.is_set() { Cardinality::ManyToMany } else { Cardinality::OneToOne };
        let mut matching = Matching { cardinality, ..Matching::default() };
        if self.take(Kind::Keyword(Keyword::On)) {
            matching.labels = Grouping::By(self.labels()?);
        } else if self.take(Kind::Keyword(Keyword::Ignoring)) {
            matching.labels = Grouping::Without(self.labels()?);
        } else {
            return Ok(Modifiers { returns_bool, matching });
        }
        self.group_side(&mut matching)?;
        Ok(Modifiers { returns_bool, matching })
    }

    /// `group_left` or `group_right` behind `on` or `ignoring`, perhaps with labels.
    fn group_side(&mut self, matching: &mut Matching) -> Result<(), ParseError> {
        matching.cardinality = match self.peek().kind {
            Kind::Keyword(Keyword::GroupLeft) => Cardinality::ManyToOne,
            Kind::Keyword(Keyword::GroupRight) => Cardinality::OneToMany,
            _ => return Ok(()),
        };
        self.next();
        match self.peek().kind {
            Kind::LeftParen => matching.include = self.labels()?,
            kind if may_begin_operand(kind) => {}
            _ => return Err(self.unexpected("grouping opts", "\"(\"")),
        }
        Ok(())
    }

    /// `[5m]` or `[1h:1m]`
    pub(super) fn brackets(&mut self) -> Result<Brackets, ParseError> {
        self.expect(Kind::LeftBracket, "", "")?;
        let range = self.positive_duration("subquery selector", "number or duration")?;
        if self.take(Kind::RightBracket) {
            return Ok(Brackets { range, step: None });
        }
        self.expect(Kind::Colon, "subquery or range", "\":\" or \"]\"")?;
        if self.take(Kind::RightBracket) {
            return Ok(Brackets { range, step: Some(None) });
        }
        let step = self.positive_duration("subquery selector", "number or duration or \"]\"")?;
        self.expect(Kind::RightBracket, "subquery selector", "\"]\"")?;
        Ok(Brackets { range, step: Some(Some(step)) })
    }

    fn positive_duration(&mut self, context: &str, expected: &str) -> Result<i64, ParseError> {
        let start = self.peek().span.start;
        let millis = self.duration(context, expected)?;
        if matches!(self.peek().kind, Kind::Operator(_)) {
            return Err(experimental_duration(self.since(start)));
        }
        // Prometheus takes a range of less than a millisecond, and rounds it to nothing later.
        match self.peek().kind {
            _ if millis > 0 => Ok(millis),
            // It looks at what follows before it judges the duration.
            Kind::Fault => Err(self.unexpected(context, expected)),
            _ => Err(refused(self.since(start), "duration must be greater than 0")),
        }
    }

    /// Milliseconds, with any number of signs before them; parts are cut.
    fn duration(&mut self, context: &str, expected: &str) -> Result<i64, ParseError> {
        let start = self.peek().span.start;
        let sign = self.sign();
        match self.peek().kind {
            Kind::Number | Kind::Duration => {}
            Kind::LeftParen => return Err(self.parenthesized_duration(context, expected)),
            _ => return Err(self.unexpected(context, expected)),
        }
        let nanos = (sign * self.number()? * 1e9).round();
        if nanos.is_nan() || nanos.abs() > i64::MAX as f64 {
            return Err(refused(self.since(start), "duration out of range"));
        }
        Ok(nanos as i64 / 1_000_000)
    }

    /// What Prometheus has behind a flag, if a duration stands in the parentheses at all.
    fn parenthesized_duration(&mut self, context: &str, expected: &str) -> ParseError {
        let span = self.ahead(1).span;
        while self.take(Kind::LeftParen) {
            self.sign();
        }
        match self.peek().kind {
            Kind::Number | Kind::Duration => experimental_duration(span),
            _ => self.unexpected(context, expected),
        }
    }

    /// The product of the signs that come next.
    pub(super) fn sign(&mut self) -> f64 {
        let mut sign = 1.0;
        loop {
            match self.peek().kind {
                Kind::Operator(BinaryOp::Add) => {}
                Kind::Operator(BinaryOp::Sub) => sign = -sign,
                _ => return sign,
            }
            self.next();
        }
    }

    /// The `offset` and `@` that come next, each at most once; `start` is where their expression begins.
    pub(super) fn shift(&mut self, start: u32) -> Result<Shift, ParseError> {
        let mut shift = Shift::default();
        loop {
            if self.take(Kind::Keyword(Keyword::Offset)) {
                let before = shift.offset;
                shift.offset = self.duration("offset", "number or duration")?;
                if before != 0 {
                    return Err(refused(self.since(start), "offset may not be set multiple times"));
                }
            } else if self.take(Kind::At) {
                let at = self.time(start)?;
                if shift.at.replace(at).is_some() {
                    return Err(refused(self.since(start), "@ <timestamp> may not be set multiple times"));
                }
            } else {
                return Ok(shift);
            }
        }
    }

    /// Behind `@`.
    fn time(&mut self, start: u32) -> Result<At, ParseError> {
        const CONTEXT: &str = "@";
        if self.peek().kind == Kind::Preprocessor {
            let name = self.next();
            self.expect(Kind::LeftParen, CONTEXT, "timestamp")?;
            self.expect(Kind::RightParen, CONTEXT, "timestamp")?;
            return Ok(if self.text(name).eq_ignore_ascii_case("start") { At::Start } else { At::End });
        }
        let has_sign = matches!(self.peek().kind, Kind::Operator(BinaryOp::Add | BinaryOp::Sub));
        let number = self.ahead(usize::from(has_sign)).kind;
        if !matches!(number, Kind::Number | Kind::Duration) {
            self.at += usize::from(has_sign);
            return Err(self.unexpected(CONTEXT, "timestamp"));
        }
        let seconds = self.sign() * self.number()?;
        if seconds.is_nan() || seconds.abs() >= i64::MAX as f64 {
            let text = format!("timestamp out of bounds for @ modifier: {}", go_fixed(seconds));
            return Err(refused(self.since(start), text));
        }
        Ok(At::Time(Timestamp((seconds * 1000.0).round() as i64)))
    }
}

/// Whether an operand may begin so; one may begin with a left parenthesis, too.
pub(super) fn may_begin_operand(kind: Kind) -> bool {
    let is_sign = matches!(kind, Kind::Operator(BinaryOp::Add | BinaryOp::Sub));
    let is_literal = matches!(kind, Kind::Number | Kind::Duration | Kind::String);
    is_sign || is_literal || kind == Kind::LeftBrace || is_metric_name(kind)
}

fn equal(label: &str, value: &str, at: Token) -> Result<Matcher, ParseError> {
    Matcher::new(label, MatchOp::Equal, value).map_err(|error| refused(at.span, error.to_string()))
}

fn experimental_duration(span: Span) -> ParseError {
    refused(span, "experimental duration expression is not enabled")
}

/// A token's text in quotes, at most ten characters of it.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 10;
    if text.len() <= SHOWN {
        return format!("{text:?}");
    }
    format!("{:?}...", text.chars().take(SHOWN).collect::<String>())
}

/// As Go's `%f` writes it.
fn go_fixed(number: f64) -> String {
    match number {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        _ => format!("{number:.6}"),
    }
}
