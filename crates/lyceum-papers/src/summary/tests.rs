use super::*;
use crate::study::tests::{GOOD, write};
use crate::{Measured, Options, Study};

/// A plan of `seeds` seeds and a record of every run; `values` gives accuracy and climb by arm and seed.
fn judged(seeds: u64, quick: bool, fails: Option<(&str, u64)>) -> Summary {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), GOOD);
    let options = Options { seeds: Some(seeds), quick };
    let mut plan = Plan::new(Study::read(folder.path()).unwrap(), options, folder.path()).unwrap();
    plan.study.name = "nothing".into();
    let record = |run: &crate::Run| {
        let seed = run.seed as f64;
        let accuracy = if run.arm == "min" { 0.8 + 0.011 * seed } else { 0.5 + 0.01 * seed };
        // Reached at step 4, but for the first seed, which stays below.
        let top = if run.arm == "min" && run.seed == 1 { 0.1 } else { accuracy };
        let climb = vec![(0, 0.05), (4, top)];
        let reach = Measured { value: Some(accuracy), climb };
        let accuracy = Measured { value: Some(accuracy), climb: Vec::new() };
        let metrics = BTreeMap::from([("accuracy".into(), accuracy), ("reach".into(), reach)]);
        let ending = if fails == Some((&run.arm, run.seed)) {
            Ending::Failed("the disk | is full".into())
        } else {
            Ending::Finished { rounds: 9, seconds: 1.0, metrics }
        };
        let points = (0..9).map(|step| (f64::from(step), 0.1 * f64::from(step) + 0.01 * seed)).collect();
        let curves = BTreeMap::from([("heldout/correct".into(), points)]);
        Record { arm: run.arm.clone(), seed: run.seed, key: run.key.clone(), ending, curves }
    };
    let records: Vec<Record> = plan.runs.iter().map(record).collect();
    let svg = figure(&plan.study, &plan.study.file.figure[0], &records).unwrap();
    assert!(svg.contains("right or wrong") && !svg.contains("NaN"), "{svg}");
    Summary::new(&plan, &records)
}

#[test]
fn five_seeds_decide() {
    let summary = judged(5, false, None);
    insta::assert_snapshot!("text", tables::text(&summary));
    insta::assert_snapshot!("markdown", tables::markdown(&summary));
    let difference = summary.claims[0].measured.estimate;
    assert!((difference.mean - 0.303).abs() < 1e-9 && difference.n == 5, "{difference}");
    assert_eq!(summary.claims[0].verdict, Verdict::Holds);
    // Four runs at step 4 and one that never was, with its 9 rounds.
    assert_eq!((summary.claims[1].measured.estimate.mean, summary.claims[1].measured.censored), (5.0, 1));
    let json = serde_json::to_string(&summary).unwrap();
    assert_eq!(serde_json::from_str::<Summary>(&json).unwrap(), summary);
}

#[test]
fn a_failed_run_is_shown_and_its_seed_is_in_no_difference() {
    let summary = judged(5, false, Some(("verifiable", 2)));
    insta::assert_snapshot!("failed", tables::text(&summary));
    assert_eq!(summary.claims[0].measured.estimate.n, 4);
    assert_eq!(summary.claims[0].verdict, Verdict::NotDecided);
    assert!(tables::markdown(&summary).contains("the disk \\| is full"));
}

#[test]
fn few_seeds_and_quick_runs_decide_nothing() {
    for (summary, why) in [(judged(2, false, None), "2 seeds"), (judged(5, true, None), "--quick")] {
        for claim in summary.claims {
            assert_eq!(claim.verdict, Verdict::NotDecided);
            assert!(claim.why.as_ref().unwrap().contains(why), "{:?}", claim.why);
        }
    }
}
