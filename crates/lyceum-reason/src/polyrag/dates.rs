//! When a text is of: the paper's "date by an extraction tool".

/// Months, by their first three letters.
const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

/// The latest date that a text names, as years with a fraction: `2021-03-05`, `5 March 2021`, `March 5, 2021`, `March 2021`
/// or a year from 1900 to 2099 that stands alone (then its middle).
///
/// ```
/// use lyceum_reason::polyrag::dates::latest_date;
/// assert_eq!(latest_date("Revised 2021-07-01, first in 1998.").map(|d| (d * 100.0).round()), Some(202150.0));
/// assert_eq!(latest_date("As of March 2020").map(|d| (d * 100.0).round()), Some(202021.0));
/// assert_eq!(latest_date("in 1998"), Some(1998.5));
/// assert_eq!(latest_date("call 19980 or 2.1999"), None);
/// ```
#[must_use]
pub fn latest_date(text: &str) -> Option<f64> {
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '(' | ')'))
        .filter(|w| !w.is_empty())
        .collect();
    let mut latest = None::<f64>;
    for (at, word) in words.iter().enumerate() {
        let word = word.trim_end_matches(['.', ':', '!', '?']);
        let found = full(word).or_else(|| {
            let year = year(word)?;
            let before = at.checked_sub(1).and_then(|at| words.get(at)).copied();
            let second = at.checked_sub(2).and_then(|at| words.get(at)).copied();
            let month = before.and_then(month).or_else(|| before.and_then(day).and(second.and_then(month)));
            Some(f64::from(year) + month.map_or(0.5, |month| (f64::from(month) + 0.5) / 12.0))
        });
        latest = latest.into_iter().chain(found).reduce(f64::max);
    }
    latest
}

fn year(word: &str) -> Option<u32> {
    (word.len() == 4).then(|| word.parse().ok()).flatten().filter(|year| (1900..2100).contains(year))
}

fn month(word: &str) -> Option<u32> {
    let lower = word.to_lowercase();
    let known = lower.get(..3).filter(|_| lower.bytes().all(|b| b.is_ascii_alphabetic() || b == b'.'))?;
    MONTHS.iter().position(|month| *month == known).map(|at| at as u32)
}

fn day(word: &str) -> Option<u32> {
    let digits = word.trim_end_matches(|c: char| c.is_alphabetic());
    digits.parse().ok().filter(|day| (1..=31).contains(day))
}

/// `YYYY-MM-DD` or `YYYY-MM`.
fn full(word: &str) -> Option<f64> {
    let mut parts = word.split('-');
    let year = year(parts.next()?)?;
    let month: u32 = parts.next()?.parse().ok().filter(|month| (1..=12).contains(month))?;
    let day: u32 = parts.next().map_or(Some(15), |day| day.parse().ok())?;
    Some(f64::from(year) + (f64::from(month - 1) + f64::from(day.min(31)) / 31.0) / 12.0)
}
