//! The parser's tree beside the tokens, made one: typed, checked, every node with its place.
//!
//! The tree is walked in the order of the source and takes its tokens on the way, so at the end none may be left. A sign
//! before a number belongs to the number; a plus before anything else is dropped by the parser, and found again here.

use promql_parser::parser::{self, Expr as Parsed};

use super::check::{self, Typed};
use super::cursor::Cursor;
use super::token::{Kind, Tokens};
use super::{ParseError, ParseOptions, refused};
use crate::promql::ast::{
    Aggregation, Binary, BinaryOp, Call, Expr, ExprKind, Grouping, Matching, MatrixSelector, Shift, Span, Subquery,
    ValueType, VectorSelector,
};
use crate::promql::function::Function;
use crate::promql::stack::with_room;

/// Makes the tree that is evaluated.
pub(super) fn lower(parsed: &Parsed, tokens: &Tokens<'_>, options: ParseOptions) -> Result<Expr, ParseError> {
    let mut lowering = Lowering { cursor: Cursor { tokens, at: 0, aggregations: 0 }, options, is_info: false };
    let expr = lowering.expr(parsed)?;
    debug_assert_eq!(lowering.cursor.peek().kind, Kind::End, "tokens are left over in {:?}", tokens.source);
    Ok(expr)
}

struct Lowering<'t, 's> {
    cursor: Cursor<'t, 's>,
    options: ParseOptions,
    /// The next selector is the second argument of `info`: it selects by labels alone, and may be empty.
    is_info: bool,
}

impl Lowering<'_, '_> {
    fn expr(&mut self, parsed: &Parsed) -> Result<Expr, ParseError> {
        with_room(|| self.signed(parsed))
    }

    fn signed(&mut self, parsed: &Parsed) -> Result<Expr, ParseError> {
        if let Parsed::NumberLiteral(_) = parsed {
            return self.number();
        }
        let start = self.cursor.peek().span.start;
        if binds_looser_than_a_sign(parsed) || !self.cursor.take(Kind::Operator(BinaryOp::Add)) {
            return self.unsigned(parsed);
        }
        let operand = self.expr(parsed)?;
        let span = self.cursor.since(start);
        check::sign(typed(&operand), span)?;
        Ok(Expr { kind: ExprKind::Plus(Box::new(operand)), span })
    }

    fn unsigned(&mut self, parsed: &Parsed) -> Result<Expr, ParseError> {
        let start = self.cursor.peek().span.start;
        let kind = match parsed {
            Parsed::StringLiteral(_) => ExprKind::String(self.cursor.string("")?.into()),
            Parsed::VectorSelector(_) => ExprKind::Vector(self.vector(start)?),
            Parsed::MatrixSelector(_) => ExprKind::Matrix(self.matrix(start)?),
            Parsed::Subquery(subquery) => ExprKind::Subquery(Box::new(self.subquery(subquery, start)?)),
            Parsed::Call(call) => ExprKind::Call(self.call(call)?),
            Parsed::Aggregate(aggregate) => ExprKind::Aggregation(Box::new(self.aggregation(aggregate)?)),
            Parsed::Binary(binary) => return self.binary(binary),
            Parsed::Unary(unary) => ExprKind::Negation(Box::new(self.negated(&unary.expr, start)?)),
            Parsed::Paren(paren) => {
                self.cursor.next();
                let inner = self.expr(&paren.expr)?;
                self.cursor.expect(Kind::RightParen, "", "")?;
                ExprKind::Paren(Box::new(inner))
            }
            Parsed::NumberLiteral(_) | Parsed::Extension(_) => return Err(self.cursor.unexpected("", "")),
        };
        Ok(Expr { kind, span: self.cursor.since(start) })
    }

    fn number(&mut self) -> Result<Expr, ParseError> {
        let start = self.cursor.peek().span.start;
        let sign = self.cursor.sign();
        let is_duration = self.cursor.peek().kind == Kind::Duration;
        let number = sign * self.cursor.number()?;
        let kind = if is_duration { ExprKind::Duration(number) } else { ExprKind::Number(number) };
        Ok(Expr { kind, span: self.cursor.since(start) })
    }

    /// What stands behind a minus.
    fn negated(&mut self, inner: &Parsed, start: u32) -> Result<Expr, ParseError> {
        self.cursor.next();
        let inner = self.expr(inner)?;
        check::sign(typed(&inner), self.cursor.since(start))?;
        Ok(inner)
    }

    fn vector(&mut self, start: u32) -> Result<VectorSelector, ParseError> {
        let selector = self.selector(start)?;
        let shift = self.cursor.shift(start)?;
        Ok(VectorSelector { shift, ..selector })
    }

    fn selector(&mut self, start: u32) -> Result<VectorSelector, ParseError> {
        let selector = self.cursor.selector()?;
        let span = self.cursor.since(start);
        if std::mem::take(&mut self.is_info) {
            check::info_selector(Some(&selector), span)?;
        } else {
            check::selector(&selector, span)?;
        }
        Ok(selector)
    }

    fn matrix(&mut self, start: u32) -> Result<MatrixSelector, ParseError> {
        let selector = self.selector(start)?;
        let range = self.cursor.brackets()?.range;
        let shift = self.cursor.shift(start)?;
        Ok(MatrixSelector { selector: VectorSelector { shift, ..selector }, range })
    }

    fn subquery(&mut self, parsed: &parser::SubqueryExpr, start: u32) -> Result<Subquery, ParseError> {
        let expr = self.expr(&parsed.expr)?;
        let brackets = self.cursor.brackets()?;
        check::subquery(typed(&expr), self.cursor.since(start))?;
        let shift: Shift = self.cursor.shift(start)?;
        Ok(Subquery { expr, range: brackets.range, step: brackets.step.flatten(), shift })
    }

    fn call(&mut self, parsed: &parser::Call) -> Result<Call, ParseError> {
        let name = self.cursor.next();
        let function = check::function(self.cursor.text(name), name.span, self.options)?;
        let args = parsed.args.args.iter().map(AsRef::as_ref).collect::<Vec<_>>();
        let args = self.args(&args, |lowering, nth| lowering.is_info = function == Function::Info && nth == 1)?;
        let span = self.cursor.since(name.span.start);
        check::call(function, &args.iter().map(typed).collect::<Vec<_>>(), span)?;
        if function == Function::Info && args.len() > 1 {
            let selector = match &args[1].kind {
                ExprKind::Vector(selector) => Some(selector),
                _ => None,
            };
            check::info_selector(selector, args[1].span)?;
        }
        Ok(Call { function, args })
    }

    /// In parentheses, with commas between.
    fn args(&mut self, parsed: &[&Parsed], mut before: impl FnMut(&mut Self, usize)) -> Result<Vec<Expr>, ParseError> {
        self.cursor.expect(Kind::LeftParen, "", "")?;
        let mut args = Vec::with_capacity(parsed.len());
        for (nth, arg) in parsed.iter().enumerate() {
            if nth > 0 {
                self.cursor.expect(Kind::Comma, "", "")?;
            }
            before(self, nth);
            args.push(self.expr(arg)?);
        }
        self.cursor.expect(Kind::RightParen, "", "")?;
        Ok(args)
    }

    fn aggregation(&mut self, parsed: &parser::AggregateExpr) -> Result<Aggregation, ParseError> {
        let name = self.cursor.next();
        let Kind::Aggregator(op) = name.kind else { return Err(self.cursor.unexpected("aggregation", "")) };
        let before = self.cursor.grouping()?;
        let parts: Vec<&Parsed> = parsed.param.iter().chain([&parsed.expr]).map(AsRef::as_ref).collect();
        let mut args = self.args(&parts, |_, _| {})?;
        let clause = if before.is_some() { before } else { self.cursor.grouping()? };
        check::aggregation_arity(op, args.len(), self.cursor.since(name.span.start), self.options)?;
        check::aggregation(op, &args.iter().map(typed).collect::<Vec<_>>())?;
        let grouping = clause.unwrap_or_else(|| Grouping::By([].into()));
        let expr = args.pop().ok_or_else(|| refused(name.span, "no arguments for aggregate expression provided"))?;
        Ok(Aggregation { op, grouping, param: args.pop(), expr })
    }

    fn binary(&mut self, parsed: &parser::BinaryExpr) -> Result<Expr, ParseError> {
        let left = self.expr(&parsed.lhs)?;
        let token = self.cursor.next();
        let Kind::Operator(op) = token.kind else { return Err(self.cursor.unexpected("", "")) };
        let modifiers = self.cursor.modifiers(op)?;
        let place = self.cursor.since(token.span.start);
        let right = self.expr(&parsed.rhs)?;
        let span = Span { start: left.span.start, end: self.cursor.end() };
        let sides = [typed(&left), typed(&right)];
        check::binary(op, place, &modifiers, sides, span)?;
        // An empty `on ()` or `ignoring ()` beside a number is allowed and says nothing.
        let are_vectors = sides.iter().all(|side| side.value_type == ValueType::Vector);
        let matching = if are_vectors { modifiers.matching } else { Matching::default() };
        let binary = Binary { op, returns_bool: modifiers.returns_bool, matching, left, right };
        Ok(Expr { kind: ExprKind::Binary(Box::new(binary)), span })
    }
}

/// The sign before it belongs to its left side.
fn binds_looser_than_a_sign(parsed: &Parsed) -> bool {
    matches!(parsed, Parsed::Binary(binary) if binary.op.id() != parser::token::T_POW)
}

fn typed(expr: &Expr) -> Typed {
    Typed { value_type: expr.value_type(), span: expr.span }
}
