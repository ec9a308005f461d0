//! An expression broken into lines, as Prometheus formats it: what fits a line stays on one, what does not is opened, its parts
//! two blanks further in.

use std::fmt::{self, Write};

use super::ast::{Expr, ExprKind};
use super::print::{aggregation_head, operator, subquery_tail};
use super::stack::with_room;

/// Bytes of a line; what is longer is opened, if it has parts.
const LINE_BYTES_MAX: usize = 100;
const INDENT: &str = "  ";

/// The expression over as many lines as it needs.
pub fn pretty(expr: &Expr) -> String {
    let mut lines = Lines { text: String::new() };
    lines.expr(expr, 0, true);
    lines.text
}

struct Lines {
    text: String,
}

impl Lines {
    /// `begins` is false where something stands on the line already.
    fn expr(&mut self, expr: &Expr, level: usize, begins: bool) {
        with_room(|| {
            let is_long = !fits(expr);
            match &expr.kind {
                ExprKind::Negation(inner) => self.signed("-", inner, level, begins),
                ExprKind::Plus(inner) => self.signed("+", inner, level, begins),
                ExprKind::Binary(binary) if is_long => {
                    self.expr(&binary.left, level + 1, true);
                    self.line(level, &operator(binary).to_string());
                    self.text.push('\n');
                    self.expr(&binary.right, level + 1, true);
                }
                // Without a parenthesis of its own, it is not opened but its inside is.
                ExprKind::Subquery(subquery) if is_long => {
                    self.expr(&subquery.expr, level, begins);
                    self.write(&subquery_tail(subquery));
                }
                ExprKind::Aggregation(aggregation) if is_long => {
                    let args = aggregation.param.iter().chain([&aggregation.expr]);
                    self.opened(&aggregation_head(aggregation), args, level, begins);
                }
                ExprKind::Call(call) if is_long => self.opened(&call.function.name(), &call.args, level, begins),
                ExprKind::Paren(inner) if is_long => self.opened(&"", [&**inner], level, begins),
                _ => {
                    // A subquery that fits a line is not moved in.
                    let level = if matches!(expr.kind, ExprKind::Subquery(_)) { 0 } else { level };
                    self.indent(level, begins);
                    self.write(expr);
                }
            }
        });
    }

    fn signed(&mut self, sign: &str, inner: &Expr, level: usize, begins: bool) {
        self.indent(level, begins);
        self.text.push_str(sign);
        let at = self.text.len();
        self.expr(inner, level, false);
        // The inside of a long operator begins further in than its sign.
        let blanks = self.text[at..].len() - self.text[at..].trim_start().len();
        self.text.replace_range(at..at + blanks, "");
    }

    fn opened<'e>(
        &mut self,
        head: &dyn fmt::Display,
        inside: impl IntoIterator<Item = &'e Expr>,
        level: usize,
        begins: bool,
    ) {
        self.indent(level, begins);
        self.write(head);
        self.text.push('(');
        for (nth, arg) in inside.into_iter().enumerate() {
            self.text.push_str(if nth == 0 { "\n" } else { ",\n" });
            self.expr(arg, level + 1, true);
        }
        self.line(level, ")");
    }

    fn line(&mut self, level: usize, text: &str) {
        self.text.push('\n');
        self.indent(level, true);
        self.text.push_str(text);
    }

    fn indent(&mut self, level: usize, begins: bool) {
        if begins {
            self.text.extend(std::iter::repeat_n(INDENT, level));
        }
    }

    fn write(&mut self, what: &dyn fmt::Display) {
        write!(self.text, "{what}").expect("a string takes everything");
    }
}

/// Whether the expression fits a line; written no further than that line's end.
fn fits(expr: &Expr) -> bool {
    struct Line(usize);
    impl Write for Line {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0 = self.0.checked_sub(text.len()).ok_or(fmt::Error)?;
            Ok(())
        }
    }
    write!(Line(LINE_BYTES_MAX), "{expr}").is_ok()
}
