//! Intervals, bootstrap by group, paired tests, and the counter-based randomness under every run.
//!
//! Every number reported anywhere is an [`Estimate`]: a mean with a 95 % interval, the count it stands on and the
//! count of what could not be scored. Which function makes it:
//!
//! | what you have | use |
//! |---|---|
//! | one number a seed, or any independent numbers | [`mean`] (Student's t) |
//! | successes of independent trials | [`proportion`] (Wilson) |
//! | several items a natural group (samples a problem, questions a document) | [`Bootstrap::mean`] over groups |
//! | the same items under two methods | [`Bootstrap::difference`], [`mcnemar_exact`], [`paired_permutation`] |
//! | any statistic of groups | [`Bootstrap::statistic`] |
//!
//! The bootstrap's interval is BCa (bias-corrected and accelerated; Efron 1987), not studentised: it respects the
//! bounds of the statistic (an accuracy never leaves \[0, 1\]), needs no inner standard error, and is second-order
//! accurate. With fewer than about ten groups no bootstrap is to be trusted; [`Estimate::groups`] tells.
#![forbid(unsafe_code)]

mod bootstrap;
mod estimate;
mod mean;
mod paired;
mod proportion;
mod rng;

pub use bootstrap::{Bootstrap, Interval, by_group};
pub use estimate::{Estimate, LEVEL, Method};
pub use mean::mean;
pub use paired::{mcnemar_exact, paired_permutation};
pub use proportion::proportion;
pub use rng::{Draw, Purpose};
