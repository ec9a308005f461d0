//! Numbers that look random and are the same each time: what generated tests are generated from.

/// SplitMix64, by its seed.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// 64 bits.
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 on, below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.roll() % bound as u64) as usize
    }

    /// True in so many of a hundred cases.
    pub(crate) fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    /// One of these.
    pub(crate) fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// The seeds of a run: the usual one, unless `FEDGATE_SEEDS=3` or `FEDGATE_SEEDS=1..50` says otherwise.
pub(crate) fn seeds(usual: u64) -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("FEDGATE_SEEDS") else { return usual..usual + 1 };
    let number = |text: &str| text.parse::<u64>().expect("FEDGATE_SEEDS is N or FROM..TO");
    match text.split_once("..") {
        Some((first, end)) => number(first)..number(end),
        None => number(&text)..number(&text) + 1,
    }
}
