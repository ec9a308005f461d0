//! Where a source that was refused goes wrong, and why.
//!
//! The parser says neither where nor, in many cases, what. So a refused source is walked once more, from left to right by the
//! same grammar, making nothing: the first token that cannot stand where it stands is the fault, and where there is none
//! the first expression whose type does not fit.

use super::check::{self, Typed};
use super::cursor::{Cursor, may_begin_operand};
use super::spell::is_metric_name;
use super::token::{Keyword, Kind, Tokens};
use super::{ParseError, ParseOptions, refused};
use crate::promql::ast::{AggregateOp, BinaryOp, Shift, Span, ValueType};
use crate::promql::function::Function;

/// The fault of a refused source; `otherwise` is what the parser says, should nothing be found.
pub(super) fn find(tokens: &Tokens<'_>, options: ParseOptions, otherwise: String) -> ParseError {
    let mut search =
        Search { cursor: Cursor { tokens, at: 0, aggregations: 0 }, options, mistyped: None, is_info: false };
    match search.whole() {
        Err(fault) => fault,
        Ok(whole) => search.mistyped.unwrap_or_else(|| refused(whole, otherwise)),
    }
}

struct Search<'t, 's> {
    cursor: Cursor<'t, 's>,
    options: ParseOptions,
    /// The first fault that is none of syntax: those come first.
    mistyped: Option<ParseError>,
    /// The next selector is the second argument of `info`.
    is_info: bool,
}

/// An operand, and what may follow it.
struct Operand {
    typed: Typed,
    /// A selector without brackets; its shift.
    selector: Option<Shift>,
    /// `offset` and `@` may follow.
    can_shift: bool,
}

impl Search<'_, '_> {
    fn whole(&mut self) -> Result<Span, ParseError> {
        if self.cursor.peek().kind == Kind::End {
            return Err(refused(Span::default(), "no expression found in input"));
        }
        let typed = self.binary(0)?;
        self.cursor.expect(Kind::End, "", "")?;
        Ok(typed.span)
    }

    fn note(&mut self, checked: Result<(), ParseError>) {
        if let (Err(fault), None) = (checked, &self.mistyped) {
            self.mistyped = Some(fault);
        }
    }

    /// Operators that bind at least as tightly as `least`.
    fn binary(&mut self, least: u8) -> Result<Typed, ParseError> {
        let mut left = self.signed()?;
        while let Kind::Operator(op) = self.cursor.peek().kind
            && binding(op) >= least
        {
            let token = self.cursor.next();
            let modifiers = self.cursor.modifiers(op)?;
            let place = self.cursor.since(token.span.start);
            let right = self.binary(binding(op) + u8::from(op != BinaryOp::Pow))?;
            let span = Span { start: left.span.start, end: right.span.end };
            self.note(check::binary(op, place, &modifiers, [left, right], span));
            let value_type = match (left.value_type, right.value_type) {
                (ValueType::Scalar, ValueType::Scalar) => ValueType::Scalar,
                _ => ValueType::Vector,
            };
            left = Typed { value_type, span };
        }
        Ok(left)
    }

    /// A sign binds as a product does.
    fn signed(&mut self) -> Result<Typed, ParseError> {
        let start = self.cursor.peek().span.start;
        let before = self.cursor.at;
        self.cursor.sign();
        if self.cursor.at == before {
            return self.operand();
        }
        let inner = self.binary(binding(BinaryOp::Pow))?;
        let span = Span { start, end: inner.span.end };
        self.note(check::sign(inner, span));
        Ok(Typed { value_type: inner.value_type, span })
    }

    fn operand(&mut self) -> Result<Typed, ParseError> {
        let start = self.cursor.peek().span.start;
        let mut operand = self.primary(start)?;
        loop {
            match self.cursor.peek().kind {
                Kind::LeftBracket => self.brackets(&mut operand)?,
                Kind::At | Kind::Keyword(Keyword::Offset) => self.shift(&mut operand)?,
                _ => return Ok(operand.typed),
            }
            operand.typed.span = self.cursor.since(start);
        }
    }

    fn primary(&mut self, start: u32) -> Result<Operand, ParseError> {
        let behind = self.cursor.ahead(1).kind;
        let value_type = match self.cursor.peek().kind {
            Kind::LeftParen => {
                self.cursor.next();
                let inner = self.binary(0)?;
                self.cursor.expect(Kind::RightParen, "", "")?;
                inner.value_type
            }
            Kind::Number | Kind::Duration => {
                self.cursor.number()?;
                ValueType::Scalar
            }
            Kind::String => {
                self.cursor.string("")?;
                ValueType::String
            }
            Kind::Aggregator(op) if opens_aggregation(behind) => self.aggregation(op)?,
            Kind::Identifier if behind == Kind::LeftParen => self.call()?,
            kind if is_metric_name(kind) || kind == Kind::LeftBrace => return self.selector(start),
            _ => return Err(self.cursor.unexpected("", "")),
        };
        let typed = Typed { value_type, span: self.cursor.since(start) };
        Ok(Operand { typed, selector: None, can_shift: false })
    }

    fn selector(&mut self, start: u32) -> Result<Operand, ParseError> {
        let selector = self.cursor.selector()?;
        let span = self.cursor.since(start);
        if !std::mem::take(&mut self.is_info) {
            self.note(check::selector(&selector, span));
        }
        let typed = Typed { value_type: ValueType::Vector, span };
        Ok(Operand { typed, selector: Some(Shift::default()), can_shift: true })
    }

    fn brackets(&mut self, operand: &mut Operand) -> Result<(), ParseError> {
        let start = self.cursor.peek().span.start;
        let is_range = self.cursor.brackets()?.step.is_none();
        let span = self.cursor.since(start);
        match operand.selector {
            _ if !is_range => self.note(check::subquery(operand.typed, self.cursor.since(operand.typed.span.start))),
            None => return Err(refused(span, "ranges only allowed for vector selectors")),
            Some(Shift { offset: 0, at: None }) => {}
            Some(Shift { offset: 0, .. }) => return Err(refused(span, "no @ modifiers allowed before range")),
            Some(_) => return Err(refused(span, "no offset modifiers allowed before range")),
        }
        operand.typed.value_type = ValueType::Matrix;
        operand.selector = None;
        operand.can_shift = true;
        Ok(())
    }

    fn shift(&mut self, operand: &mut Operand) -> Result<(), ParseError> {
        let modifier = self.cursor.peek().kind;
        let shift = self.cursor.shift(operand.typed.span.start)?;
        if !operand.can_shift {
            let name = if modifier == Kind::At { "@" } else { "offset" };
            let expected = "an instant vector selector or range vector selector or a subquery";
            return Err(refused(operand.typed.span, format!("{name} modifier must be preceded by {expected}")));
        }
        if let Some(own) = &mut operand.selector {
            *own = shift;
        }
        Ok(())
    }

    fn call(&mut self) -> Result<ValueType, ParseError> {
        let name = self.cursor.next();
        let known = Function::by_name(self.cursor.text(name));
        let args = self.args(|search, nth| search.is_info = known == Some(Function::Info) && nth == 1)?;
        let function = check::function(self.cursor.text(name), name.span, self.options)?;
        self.note(check::call(function, &args, self.cursor.since(name.span.start)));
        Ok(function.signature().returns)
    }

    fn args(&mut self, mut before: impl FnMut(&mut Self, usize)) -> Result<Vec<Typed>, ParseError> {
        self.cursor.expect(Kind::LeftParen, "aggregation", "")?;
        let mut args = Vec::new();
        while !self.cursor.take(Kind::RightParen) {
            before(self, args.len());
            args.push(self.binary(0)?);
            let comma = self.cursor.peek();
            if !self.cursor.take(Kind::Comma) {
                self.cursor.expect(Kind::RightParen, "", "")?;
                break;
            }
            // The comma is at fault, unless what follows it cannot be read at all.
            let next = self.cursor.peek().kind;
            if next != Kind::LeftParen && next != Kind::Fault && !may_begin_operand(next) {
                return Err(refused(comma.span, "trailing commas not allowed in function call args"));
            }
        }
        Ok(args)
    }

    fn aggregation(&mut self, op: AggregateOp) -> Result<ValueType, ParseError> {
        let start = self.cursor.next().span.start;
        let has_clause = self.cursor.grouping()?.is_some();
        self.cursor.aggregations += 1;
        let args = self.args(|_, _| {})?;
        self.cursor.aggregations -= 1;
        // Arguments are counted once it is known that no clause follows.
        if !has_clause && self.cursor.grouping()?.is_none() && self.cursor.peek().kind == Kind::Fault {
            return Err(self.cursor.unexpected("", ""));
        }
        check::aggregation_arity(op, args.len(), self.cursor.since(start), self.options)?;
        self.note(check::aggregation(op, &args));
        Ok(ValueType::Vector)
    }
}

/// Elsewhere the name of an aggregation is a metric's.
fn opens_aggregation(behind: Kind) -> bool {
    matches!(behind, Kind::LeftParen | Kind::Keyword(Keyword::By | Keyword::Without))
}

/// How tightly an operator binds.
fn binding(op: BinaryOp) -> u8 {
    match op {
        BinaryOp::Or => 0,
        BinaryOp::And | BinaryOp::Unless => 1,
        _ if op.is_comparison() => 2,
        BinaryOp::Add | BinaryOp::Sub => 3,
        BinaryOp::Pow => 5,
        _ => 4,
    }
}
