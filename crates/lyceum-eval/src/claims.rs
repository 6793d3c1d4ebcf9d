//! Claim-level metrics out of entailments that are already judged: RAGChecker's and RAGAS's definitions side by side, ALCE's
//! citations. A metric without anything to divide by is `None`: unscored, never 0.

/// Who entails whom, for one answer: R claims of the response, A claims of the reference, K retrieved chunks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judged {
    /// For each of the R claims of the response: does the reference entail it?
    pub response_by_reference: Vec<bool>,
    /// For each of the A claims of the reference: does the response entail it?
    pub reference_by_response: Vec<bool>,
    /// R x K: does the chunk entail the response's claim?
    pub response_by_chunk: Vec<Vec<bool>>,
    /// A x K: does the chunk entail the reference's claim?
    pub reference_by_chunk: Vec<Vec<bool>>,
}

/// RAGChecker's metrics (Ru et al. 2024, arXiv 2408.08067), as shares.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RagChecker {
    /// Share of the response's claims that the reference entails.
    pub precision: Option<f64>,
    /// Share of the reference's claims that the response entails.
    pub recall: Option<f64>,
    /// Their harmonic mean.
    pub f1: Option<f64>,
    /// Share of the reference's claims that some chunk entails.
    pub claim_recall: Option<f64>,
    /// Share of the chunks that entail some claim of the reference.
    pub context_precision: Option<f64>,
    /// Of the reference's claims that some chunk entails, the share that the response has.
    pub context_utilization: Option<f64>,
    /// Wrong claims of the response that a relevant chunk entails, over all its claims.
    pub noise_sensitivity_in_relevant: Option<f64>,
    /// Wrong claims that only irrelevant chunks entail, over all claims.
    pub noise_sensitivity_in_irrelevant: Option<f64>,
    /// Wrong claims that no chunk entails, over all claims.
    pub hallucination: Option<f64>,
    /// Right claims that no chunk entails, over all claims.
    pub self_knowledge: Option<f64>,
    /// Share of the response's claims that some chunk entails.
    pub faithfulness: Option<f64>,
}

impl RagChecker {
    /// Computes all of them.
    #[must_use]
    pub fn of(judged: &Judged) -> Self {
        let Judged { response_by_reference: right, response_by_chunk, .. } = judged;
        let chunks = judged.reference_by_chunk.first().or(response_by_chunk.first()).map_or(0, Vec::len);
        let is_relevant =
            |chunk: usize| judged.reference_by_chunk.iter().any(|claim| claim.get(chunk) == Some(&true));
        let relevant: Vec<bool> = (0..chunks).map(is_relevant).collect();
        let in_chunks = |claim: &Vec<bool>| claim.iter().any(|&entailed| entailed);
        let precision = share(right.iter().copied());
        let recall = share(judged.reference_by_response.iter().copied());
        let f1 = precision.zip(recall).map(|(p, r)| if p + r > 0.0 { 2.0 * p * r / (p + r) } else { 0.0 });
        // Metrics of the chunks need a judgement of chunks.
        let judged_claims: Vec<(bool, bool, bool)> = right
            .iter()
            .zip(response_by_chunk)
            .filter(|(_, claim)| !claim.is_empty())
            .map(|(&right, claim)| {
                let by_relevant =
                    claim.iter().zip(&relevant).any(|(&entailed, &relevant)| entailed && relevant);
                (right, in_chunks(claim), by_relevant)
            })
            .collect();
        let claims = |fits: &dyn Fn(bool, bool, bool) -> bool| {
            share(judged_claims.iter().map(|&(right, known, by_relevant)| fits(right, known, by_relevant)))
        };
        let of_reference: Vec<(bool, bool)> = judged
            .reference_by_chunk
            .iter()
            .zip(&judged.reference_by_response)
            .map(|(claim, &said)| (in_chunks(claim), said))
            .collect();
        Self {
            precision,
            recall,
            f1,
            claim_recall: share(
                judged.reference_by_chunk.iter().filter(|claim| !claim.is_empty()).map(in_chunks),
            ),
            // Without a reference nobody knows which chunks are relevant.
            context_precision: share(
                relevant.iter().filter(|_| !judged.reference_by_chunk.is_empty()).copied(),
            ),
            context_utilization: share(
                of_reference.iter().filter(|(there, _)| *there).map(|&(_, said)| said),
            ),
            noise_sensitivity_in_relevant: claims(&|right, _, by_relevant| !right && by_relevant),
            noise_sensitivity_in_irrelevant: claims(&|right, known, by_relevant| {
                !right && known && !by_relevant
            }),
            hallucination: claims(&|right, known, _| !right && !known),
            self_knowledge: claims(&|right, known, _| right && !known),
            faithfulness: share(response_by_chunk.iter().filter(|claim| !claim.is_empty()).map(in_chunks)),
        }
    }

    /// The metrics under the names of reports.
    #[must_use]
    pub fn named(&self) -> [(&'static str, Option<f64>); 11] {
        [
            ("ragchecker.precision", self.precision),
            ("ragchecker.recall", self.recall),
            ("ragchecker.f1", self.f1),
            ("ragchecker.claim_recall", self.claim_recall),
            ("ragchecker.context_precision", self.context_precision),
            ("ragchecker.context_utilization", self.context_utilization),
            ("ragchecker.noise_sensitivity_in_relevant", self.noise_sensitivity_in_relevant),
            ("ragchecker.noise_sensitivity_in_irrelevant", self.noise_sensitivity_in_irrelevant),
            ("ragchecker.hallucination", self.hallucination),
            ("ragchecker.self_knowledge", self.self_knowledge),
            ("ragchecker.faithfulness", self.faithfulness),
        ]
    }
}

/// `ragas.faithfulness`: share of the response's claims that the whole context entails; `ragas.context_recall` likewise for
/// the claims of the reference.
#[must_use]
pub fn supported(entailed: &[bool]) -> Option<f64> {
    share(entailed.iter().copied())
}

/// `ragas.context_precision`: mean of the precisions at the ranks of useful chunks; 0 where none is useful.
///
/// ```
/// use lyceum_eval::claims::ragas_context_precision;
/// assert_eq!(ragas_context_precision(&[true, false, true]), Some((1.0 + 2.0 / 3.0) / 2.0));
/// assert_eq!((ragas_context_precision(&[false]), ragas_context_precision(&[])), (Some(0.0), None));
/// ```
#[must_use]
pub fn ragas_context_precision(useful: &[bool]) -> Option<f64> {
    let (mut hits, mut sum) = (0.0, 0.0);
    for (index, _) in useful.iter().enumerate().filter(|(_, useful)| **useful) {
        hits += 1.0;
        sum += hits / (index + 1) as f64;
    }
    (!useful.is_empty()).then(|| if hits > 0.0 { sum / hits } else { 0.0 })
}

/// `ragas.factual_correctness` as F1 of claims: TP right claims of the response, FP its wrong ones, FN claims of the reference
/// that it lacks.
#[must_use]
pub fn ragas_claim_f1(response_by_reference: &[bool], reference_by_response: &[bool]) -> Option<f64> {
    let right = response_by_reference.iter().filter(|&&right| right).count() as f64;
    let wrong = response_by_reference.len() as f64 - right;
    let lacking = reference_by_response.iter().filter(|&&said| !said).count() as f64;
    let all = right + 0.5 * (wrong + lacking);
    (all > 0.0).then(|| right / all)
}

/// A sentence of an answer with its citations, judged as ALCE does (Gao et al. 2023).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cited {
    /// The documents that it cites exist, and there is at least one.
    pub valid: bool,
    /// All documents that it cites together entail it.
    pub by_all: bool,
    /// For each citation: the document alone entails it, and the others without it do.
    pub each: Vec<(bool, bool)>,
}

/// `alce.citation_recall` and `alce.citation_precision` of an answer. Recall is the share of sentences that their citations
/// entail; a sentence that cites nothing, or what is not there, counts 0. Precision is over citations: one is needless if it
/// alone does not entail its sentence and the others still do, or if all together don't.
///
/// ```
/// use lyceum_eval::claims::{Cited, citations};
/// let good = Cited { valid: true, by_all: true, each: vec![(true, false), (false, true)] };
/// assert_eq!(citations(&[good, Cited::default()]), (Some(0.5), Some(0.5)));
/// ```
#[must_use]
pub fn citations(sentences: &[Cited]) -> (Option<f64>, Option<f64>) {
    let recall = share(sentences.iter().map(|sentence| sentence.valid && sentence.by_all));
    let needed = |sentence: &Cited, (alone, without): (bool, bool)| sentence.by_all && (alone || !without);
    let each =
        sentences.iter().filter(|s| s.valid).flat_map(|s| s.each.iter().map(move |&one| needed(s, one)));
    (recall, share(each))
}

/// The share of what is true; `None` of nothing.
pub(crate) fn share(values: impl IntoIterator<Item = bool>) -> Option<f64> {
    let (all, right) =
        values.into_iter().fold((0u64, 0u64), |(all, right), value| (all + 1, right + u64::from(value)));
    (all > 0).then(|| right as f64 / all as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ragchecker_by_hand() {
        // Four claims: right and in a relevant chunk; wrong and in a relevant one; wrong and only in an irrelevant one;
        // wrong and nowhere. Chunk 0 is relevant, chunk 1 is not. Two gold claims: one in chunk 0 and said, one nowhere.
        let judged = Judged {
            response_by_reference: vec![true, false, false, false],
            reference_by_response: vec![true, false],
            response_by_chunk: vec![
                vec![true, false],
                vec![true, true],
                vec![false, true],
                vec![false, false],
            ],
            reference_by_chunk: vec![vec![true, false], vec![false, false]],
        };
        let found = RagChecker::of(&judged);
        let quarter = Some(0.25);
        assert_eq!((found.precision, found.recall, found.f1), (quarter, Some(0.5), Some(1.0 / 3.0)));
        assert_eq!((found.claim_recall, found.context_precision), (Some(0.5), Some(0.5)));
        assert_eq!(found.context_utilization, Some(1.0));
        assert_eq!(
            (found.noise_sensitivity_in_relevant, found.noise_sensitivity_in_irrelevant),
            (quarter, quarter)
        );
        assert_eq!(
            (found.hallucination, found.self_knowledge, found.faithfulness),
            (quarter, Some(0.0), Some(0.75))
        );
    }

    #[test]
    fn nothing_is_unscored() {
        assert!(RagChecker::of(&Judged::default()).named().iter().all(|(_, value)| value.is_none()));
        let no_reference = Judged { response_by_chunk: vec![vec![true, false]], ..Judged::default() };
        let found = RagChecker::of(&no_reference);
        assert_eq!(
            (found.faithfulness, found.context_precision, found.hallucination),
            (Some(1.0), None, None)
        );
        assert_eq!(ragas_claim_f1(&[], &[]), None);
        assert_eq!(ragas_claim_f1(&[true, false], &[true, false]), Some(0.5));
    }
}
