//! The step budget: what keeps hostile answers cheap.

/// Why a computation ended without a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The steps ran out, or a number would grow beyond the limit.
    Budget,
    /// Nested deeper than the limit.
    Deep,
    /// No value there: a division by zero, the logarithm of zero.
    Undefined,
    /// A construct that this checker can't evaluate.
    Unsupported,
    /// Not an expression.
    Syntax,
}

/// Counts down; one step is about one multiplication of machine words.
pub(super) struct Meter {
    left: u64,
}

/// Largest number that is ever built, in bits.
pub(super) const LARGEST_BITS: u64 = 200_000;

impl Meter {
    pub(super) fn new(steps: u64) -> Self {
        Self { left: steps }
    }

    pub(super) fn spend(&mut self, steps: u64) -> Result<(), Stop> {
        self.left = self.left.checked_sub(steps).ok_or(Stop::Budget)?;
        Ok(())
    }

    /// Pays for a product of numbers of so many bits, and refuses to build a number beyond the limit.
    pub(super) fn multiply(&mut self, left_bits: u64, right_bits: u64) -> Result<(), Stop> {
        if left_bits.saturating_add(right_bits) > LARGEST_BITS {
            return Err(Stop::Budget);
        }
        self.spend((left_bits / 64 + 1) * (right_bits / 64 + 1))
    }

    /// Pays for the greatest common divisor of numbers of so many bits together, which goes bit by bit.
    pub(super) fn reduce(&mut self, bits: u64) -> Result<(), Stop> {
        self.spend((bits / 64 + 1) * (bits / 2 + 1))
    }
}
