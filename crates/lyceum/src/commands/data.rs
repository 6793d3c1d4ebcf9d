//! `lyceum data list | pull | path`.

use anyhow::Result;
use lyceum_hub::Hub;
use lyceum_hub::data::DataSet;

use crate::cli::DataCommand;
use crate::out;
use crate::session::Session;

/// Lists, fetches and finds data sets.
pub fn run(session: &Session, command: &DataCommand) -> Result<()> {
    let hub = Hub::from_env()?;
    match command {
        DataCommand::List => list(session, &hub),
        DataCommand::Pull { name } => {
            let path = hub.pull_data(&DataSet::find(name)?, &session.downloads())?;
            show(session, name, &path)
        }
        DataCommand::Path { name } => {
            let path = hub.data_path(&DataSet::find(name)?)?;
            show(session, name, &path)
        }
    }
}

fn show(session: &Session, name: &str, path: &std::path::Path) -> Result<()> {
    if session.json {
        return session.print_json(&serde_json::json!({"name": name, "path": path}));
    }
    out!("{}", path.display());
    Ok(())
}

fn list(session: &Session, hub: &Hub) -> Result<()> {
    let sets = DataSet::all();
    if session.json {
        let rows: Vec<_> = sets
            .iter()
            .map(|set| {
                serde_json::json!({
                    "name": set.name, "folder": set.folder, "licences": set.licences(),
                    "path": hub.data_path(set).ok(),
                    "rows": set.files.iter().map(|file| file.rows).sum::<usize>(),
                })
            })
            .collect();
        return session.print_json(&rows);
    }
    out!("{:<22} {:>7}  {:<6} licence", "name", "rows", "here");
    for set in &sets {
        let rows: usize = set.files.iter().map(|file| file.rows).sum();
        let here = if hub.data_path(set).is_ok() { "yes" } else { "no" };
        out!("{:<22} {rows:>7}  {here:<6} {}", set.name, set.licences().join(", "));
    }
    Ok(())
}
