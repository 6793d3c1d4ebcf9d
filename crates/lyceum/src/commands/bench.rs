//! PLACEHOLDER
use crate::cli::BenchArgs;
use crate::session::Session;
/// x
pub fn run(_: &Session, _: &BenchArgs) -> anyhow::Result<()> {
    anyhow::bail!("not yet")
}
