//! A recipe, the lines before the first NUL, and a `--set` argument in each part after it. What is read is written
//! and read again as the same recipe.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use lyceum_run::Recipe;

fuzz_target!(|input: &str| {
    let mut parts = input.split('\0').map(str::to_owned);
    let text = parts.next().unwrap_or_default();
    let sets: Vec<String> = parts.collect();
    // No file lies in this folder, so that `extends` reads none.
    let path = Path::new("/nonexistent/fuzz.toml");
    if let Ok(recipe) = Recipe::<lyceum_rl::Recipe>::parse(&text, path, &sets)
        && recipe.value.validate().is_ok()
    {
        _ = recipe.value.optimizer_steps();
        let again = Recipe::<lyceum_rl::Recipe>::parse(&recipe.to_toml().unwrap(), path, &[]);
        assert_eq!(again.unwrap().value, recipe.value);
    }
});
