//! The page of `lyceum score rag --html`: every metric as a bar with its interval. No network, no script.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use lyceum_run::escaped;
use lyceum_stats::Estimate;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b2330;background:#fff}\
table{border-collapse:collapse;width:100%}td,th{padding:.25rem .6rem;text-align:left;border-bottom:1px solid #d8dee6}\
td.n{text-align:right;font-variant-numeric:tabular-nums}svg{display:block}.low{fill:#c9d6e8}.bar{fill:#3b6ea8}.line{stroke:#1b2330}\
@media(prefers-color-scheme:dark){body{color:#dfe5ee;background:#12161c}td,th{border-color:#2c3542}.low{fill:#28374b}.bar{fill:#6ea0d8}.line{stroke:#dfe5ee}}";

/// The page.
pub fn page(
    title: &str,
    metrics: &BTreeMap<String, Estimate>,
    differences: Option<&BTreeMap<String, Estimate>>,
) -> String {
    let title = escaped(title);
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style>{STYLE}</style><h1>{title}</h1><table><tr><th>metric<th>mean<th>95 % interval<th>n<th>unscored<th>0 to 1"
    );
    if differences.is_some() {
        page.push_str("<th>difference<th>95 % interval");
    }
    for (name, e) in metrics {
        let place = |x: f64| 200.0 * if x.is_finite() { x.clamp(0.0, 1.0) } else { 0.0 };
        _ = write!(
            page,
            "<tr><td>{}<td class=n>{:.3}<td class=n>{:.3} – {:.3}<td class=n>{}<td class=n>{}<td><svg width=200 height=12>\
             <rect class=low width=200 height=12 /><rect class=bar width={:.1} height=12 />\
             <line class=line x1={:.1} x2={:.1} y1=6 y2=6 stroke-width=2 /></svg>",
            escaped(name),
            e.mean,
            e.low,
            e.high,
            e.n,
            e.unscored,
            place(e.mean),
            place(e.low),
            place(e.high)
        );
        if let Some(d) = differences.and_then(|differences| differences.get(name)) {
            _ = write!(page, "<td class=n>{:+.3}<td class=n>{:+.3} – {:+.3}", d.mean, d.low, d.high);
        }
    }
    page.push_str("</table></html>\n");
    page
}
