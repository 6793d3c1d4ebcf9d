//! A rational that is compared and hashed by its reduced parts.
//!
//! num-rational compares and hashes by continued fractions, which recurses once for every partial quotient: thousands
//! of frames for the numbers that hostile answers build.

use std::hash::{Hash, Hasher};
use std::ops::Deref;

use num_rational::BigRational;

/// A reduced rational with structural equality.
#[derive(Clone, Debug)]
pub(super) struct Exact(pub(super) BigRational);

impl PartialEq for Exact {
    fn eq(&self, other: &Self) -> bool {
        self.0.numer() == other.0.numer() && self.0.denom() == other.0.denom()
    }
}

impl Eq for Exact {}

impl Hash for Exact {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.numer().hash(state);
        self.0.denom().hash(state);
    }
}

impl Deref for Exact {
    type Target = BigRational;

    fn deref(&self) -> &BigRational {
        &self.0
    }
}

impl From<BigRational> for Exact {
    fn from(value: BigRational) -> Self {
        Self(value)
    }
}
