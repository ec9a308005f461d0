//! A page cut in stretches of rows, planned before the first of them is written.
//!
//! Invariant: the stretches are the page's rows in order, each once, and where they begin does not change what the page
//! says: of a family that lies in several, only the first that shows a sample writes the head. A plan counts series, and
//! looks at samples only where a family is cut (to the first that is shown), or where the page's lines are limited.

/// Series of a stretch, so many that it becomes a block of some 150 kB.
const STRETCH_SERIES: usize = 1024;
/// Series of the first stretch, so that the reader soon has its first byte.
const FIRST_SERIES: usize = 64;

/// The end of a page whose lines are limited.
pub(super) const CUT_HERE: &[u8] = b"# cut here: limit reached\n";

/// Before row `row` of family `family`. What a row is (all samples of one chunk, say) is the page's own affair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) family: usize,
    pub(super) row: usize,
}

/// Rows that are written by one thread; `from` moves on as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) from: Place,
    pub(super) to: Place,
    /// The head of the family at `from` stands already.
    pub(super) has_head: bool,
    /// Lines that may still be written, where the page is limited; with the last of them the page ends.
    pub(super) room: Option<u64>,
}

impl Stretch {
    /// What of a family with `rows` rows is still to be written.
    pub(super) fn rows(&self, rows: usize) -> std::ops::Range<usize> {
        self.from.row..if self.to.family == self.from.family { self.to.row } else { rows }
    }

    /// Goes on to the next family.
    pub(super) fn next_family(&mut self) {
        self.from = Place { family: self.from.family + 1, row: 0 };
        self.has_head = false;
    }

    /// Lines that may still be written.
    pub(super) fn lines_left(&self) -> usize {
        self.room.map_or(usize::MAX, |room| usize::try_from(room).unwrap_or(usize::MAX))
    }

    /// Notes that lines were written, so the head before them stands.
    pub(super) fn wrote(&mut self, lines: usize) {
        self.has_head |= lines > 0;
        self.room = self.room.map(|room| room - lines as u64);
    }
}

/// Plans a page of `families`, given as the series of each row; `shown` says how many lines a row will have.
pub(super) fn plan<R: IntoIterator<Item = usize>>(
    families: impl IntoIterator<Item = R>,
    limit: Option<u64>,
    shown: impl Fn(Place) -> usize,
) -> Vec<Stretch> {
    let (mut stretches, mut series, mut room) = (Vec::new(), 0, limit);
    let mut next = Stretch { from: Place::default(), to: Place::default(), has_head: false, room };
    for (family, rows) in families.into_iter().enumerate() {
        // Of this family: its first row in the stretch under way, and whether a row before that is shown.
        let (mut first, mut is_shown) = (0, false);
        for (row, weight) in rows.into_iter().enumerate() {
            let most = if stretches.is_empty() { FIRST_SERIES } else { STRETCH_SERIES };
            let at = Place { family, row };
            if series > 0 && series + weight > most {
                is_shown = is_shown || (first..row).any(|row| shown(Place { family, row }) > 0);
                let begun = Stretch { from: at, to: at, has_head: is_shown, room };
                stretches.push(Stretch { to: at, ..std::mem::replace(&mut next, begun) });
                (first, series) = (row, 0);
            }
            series += weight;
            next.to = Place { family, row: row + 1 };
            room = room.map(|room| room - room.min(shown(at) as u64));
            if room == Some(0) {
                stretches.push(next);
                return stretches;
            }
        }
        next.to = Place { family: family + 1, row: 0 };
    }
    stretches.push(next);
    stretches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(family: usize, row: usize) -> Place {
        Place { family, row }
    }

    #[test]
    fn the_first_stretch_is_short_and_a_cut_family_has_one_head() {
        // The first two rows of the second family show nothing.
        let families = [vec![60], vec![10, 1000, 20, 500], vec![1]];
        let shown = |at: Place| if at.family == 1 && at.row < 2 { 0 } else { 1 };
        let stretches = plan(families, None, shown);
        let cuts: Vec<(Place, bool)> = stretches.iter().map(|stretch| (stretch.from, stretch.has_head)).collect();
        assert_eq!(cuts, [(place(0, 0), false), (place(1, 0), false), (place(1, 2), false)]);
        assert!(stretches.windows(2).all(|two| two[0].to == two[1].from));
        assert_eq!(stretches.last().unwrap().to, place(3, 0));
        let all = plan([vec![1000, 1000, 1000]], None, |_| 1);
        assert_eq!(all.iter().map(|stretch| stretch.has_head).collect::<Vec<_>>(), [false, true, true]);
    }

    #[test]
    fn a_limited_page_ends_with_the_row_that_fills_it() {
        let stretches = plan([vec![1000, 1000, 1000]], Some(1500), |_| 1000);
        let rooms: Vec<Option<u64>> = stretches.iter().map(|stretch| stretch.room).collect();
        assert_eq!(rooms, [Some(1500), Some(500)]);
        assert_eq!(stretches.last().unwrap().to, place(0, 2));
        assert_eq!(plan([[1]; 0], Some(1), |_| 1).len(), 1, "even nothing is a page");
    }
}
