//! PLACEHOLDER
use crate::session::Session;
/// x
pub fn run(_: &Session, _: &lyceum_run::Recipe<lyceum_rl::Recipe>) -> anyhow::Result<()> {
    anyhow::bail!("not yet")
}
