//! A small world of conflicting sources with known truth: what an institution says of itself, as several sources tell it at
//! several times. Ours, after the paper's setting.

use lyceum_stats::{Draw, Purpose};
use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};

use super::dates::latest_date;
use super::views::Candidate;

/// What tells right from wrong in a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slice {
    /// The truth changed: the latest version is right.
    Time,
    /// Sources differ: the better ones are more often right.
    Authority,
    /// All that is said of it is right; the rest is about something else.
    Control,
}

impl Slice {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Time, Self::Authority, Self::Control];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Authority => "authority",
            Self::Control => "control",
        }
    }
}

/// A question with its documents.
#[derive(Clone, Debug)]
pub struct Question {
    /// Its slice.
    pub slice: Slice,
    /// What is asked.
    pub text: String,
    /// The right answer.
    pub answer: String,
    /// Documents; vectors are still empty.
    pub documents: Vec<Candidate>,
    /// Which documents give the right answer.
    pub relevant: Vec<bool>,
}

const PLACES: [&str; 16] = [
    "Norvale",
    "Ashmere",
    "Kestrel Bay",
    "Linden Park",
    "Morwen",
    "Halcyon Hill",
    "Tarnbrook",
    "Velmont",
    "Orrin",
    "Saltwick",
    "Bramwell",
    "Calder",
    "Dunmore",
    "Eastlow",
    "Farrow",
    "Greywater",
];
const KINDS: [&str; 8] = [
    "General Hospital",
    "Clinic",
    "Children's Hospital",
    "Health Centre",
    "Dental Practice",
    "Eye Institute",
    "Pharmacy",
    "Rehabilitation Unit",
];
/// What is asked of an institution, and its unit.
const ATTRIBUTES: [(&str, &str); 12] = [
    ("copay for an MRI scan", "dollars"),
    ("waiting time for a first appointment", "days"),
    ("number of beds", "beds"),
    ("fee for a flu vaccination", "dollars"),
    ("minimum age for an unaccompanied visit", "years"),
    ("length of a visiting slot", "minutes"),
    ("reimbursement rate for physiotherapy", "percent"),
    ("parking charge", "dollars"),
    ("number of emergency doctors at night", "doctors"),
    ("storage time for blood samples", "days"),
    ("limit for prescription refills", "refills"),
    ("notice needed to cancel a booking", "hours"),
];
/// Sources with how far they are to be believed.
const SOURCES: [(&str, f64); 10] = [
    ("official register", 1.0),
    ("ministry bulletin", 1.0),
    ("medical journal", 0.75),
    ("city newspaper", 0.75),
    ("patient association", 0.5),
    ("travel guide", 0.5),
    ("advertising portal", 0.25),
    ("web directory", 0.25),
    ("message board", 0.0),
    ("anonymous blog", 0.0),
];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Makes question number `number` of a world. A question is a function of seed and number.
#[must_use]
pub fn question(seed: u64, number: u64) -> Question {
    let random = &mut Draw { seed, step: 0, prompt: number, sample: 0 }.rng(Purpose::Tokens);
    let slice = Slice::ALL[number as usize % 3];
    let entity = format!("{} {}", pick(random, &PLACES), pick(random, &KINDS));
    let (attribute, unit) = *pick(random, &ATTRIBUTES);
    let mut values: Vec<u32> = (2..100).collect();
    values.shuffle(random);
    let truth = values[0];
    let mut told: Vec<(String, Candidate, bool)> = Vec::new();
    let mut tell = |random: &mut _, source: (&str, f64), when: f64, value: u32, right: bool| {
        let candidate = stated(random, source, when, (&entity, attribute, unit), value);
        told.push((source.0.to_owned(), candidate, right));
    };
    let now = 2025.2;
    match slice {
        Slice::Time => {
            // Three or four versions, each told by one or two sources of any standing.
            let versions = random.random_range(3..=4);
            for version in 0..versions {
                let when =
                    now - f64::from(version) * random.random_range(1.5..3.0) - random.random_range(0.0..0.5);
                for _ in 0..random.random_range(1..=2) {
                    let source = *pick(random, &SOURCES);
                    tell(random, source, when, values[version as usize], version == 0);
                }
            }
        }
        Slice::Authority => {
            let mut sources = SOURCES.to_vec();
            sources.shuffle(random);
            // Somebody who is to be believed always speaks.
            sources[..7].sort_by(|a, b| b.1.total_cmp(&a.1));
            let wrong = values[1];
            for (at, source) in sources.into_iter().take(7).enumerate() {
                let right = at == 0 || random.random_bool(0.1 + 0.8 * source.1);
                // Errors are copied: half of the wrong say the same.
                let value =
                    if right { truth } else { *[wrong, values[2 + at]].choose(random).unwrap_or(&wrong) };
                let when = now - random.random_range(0.0..4.0);
                tell(random, source, when, value, right);
            }
        }
        Slice::Control => {
            for _ in 0..random.random_range(3..=5) {
                let source = *pick(random, &SOURCES);
                let when = now - random.random_range(0.0..8.0);
                tell(random, source, when, truth, true);
            }
        }
    }
    // About something else: another attribute of the same place, the same attribute of another. Fresh and of good standing,
    // some of them: these views must not decide alone.
    for other in 0..6 {
        let (elsewhere, different) =
            (format!("{} {}", pick(random, &PLACES), pick(random, &KINDS)), pick(random, &ATTRIBUTES));
        let (place, what) =
            if other % 2 == 0 { (&entity, *different) } else { (&elsewhere, (attribute, unit)) };
        if place == &entity && what.0 == attribute {
            continue;
        }
        let source = *pick(random, &SOURCES);
        let when = now - random.random_range(0.0..4.0);
        let value = values[20 + other];
        told.push((source.0.into(), stated(random, source, when, (place, what.0, what.1), value), false));
    }
    let background = format!(
        "{entity} is run by a public trust. It publishes notices such as its {attribute} every year."
    );
    let source = *pick(random, &SOURCES);
    told.push((
        source.0.into(),
        Candidate {
            text: background,
            authority: Some(source.1),
            source: source.0.into(),
            ..Candidate::default()
        },
        false,
    ));
    told.shuffle(random);
    let (documents, relevant) = told.into_iter().map(|(_, candidate, right)| (candidate, right)).unzip();
    let text = match random.random_range(0..3) {
        0 => format!("What is the {attribute} at {entity}?"),
        1 => format!("How high is the {attribute} at {entity} now?"),
        _ => format!("{entity}: {attribute}?"),
    };
    Question { slice, text, answer: format!("{truth} {unit}"), documents, relevant }
}

fn pick<'a, T>(random: &mut impl Rng, of: &'a [T]) -> &'a T {
    &of[random.random_range(0..of.len())]
}

/// A source says something about a place.
fn stated(
    random: &mut impl Rng,
    (source, authority): (&str, f64),
    when: f64,
    (place, attribute, unit): (&str, &str, &str),
    value: u32,
) -> Candidate {
    let month = MONTHS[((when.fract() * 12.0) as usize).min(11)];
    let date = format!("{month} {}", when.floor());
    let text = match random.random_range(0..4) {
        0 => format!("According to the {source} of {date}, the {attribute} at {place} is {value} {unit}."),
        1 => format!("{place} ({source}, {date}): {attribute} {value} {unit}."),
        2 => format!("{date}. The {source} reports that {place} has set its {attribute} to {value} {unit}."),
        _ => format!("At {place} the {attribute} amounts to {value} {unit}, says the {source} ({date})."),
    };
    let date = latest_date(&text);
    Candidate {
        text,
        authority: Some(authority),
        date,
        source: source.into(),
        answer: Some(format!("{value} {unit}")),
        ..Candidate::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_question_can_be_answered_and_is_the_same_again() {
        for number in 0..300 {
            let one = question(7, number);
            assert_eq!(one.text, question(7, number).text);
            assert!(one.relevant.contains(&true) && one.relevant.contains(&false));
            for (document, relevant) in one.documents.iter().zip(&one.relevant) {
                if *relevant {
                    assert_eq!(document.answer.as_deref(), Some(one.answer.as_str()));
                    assert!(document.text.contains(&one.answer), "{} {}", document.text, one.answer);
                    assert!(document.date.is_some());
                }
            }
        }
    }

    #[test]
    fn the_latest_is_right_where_time_tells() {
        for number in (0..300).step_by(3) {
            let one = question(3, number);
            let date = |right: bool| {
                let told = one.documents.iter().zip(&one.relevant);
                told.filter(|(d, r)| {
                    **r == right && d.text.contains(&one.text.split(" at ").next().unwrap()[..0])
                })
                .filter_map(|(d, _)| d.date)
                .fold(0.0, f64::max)
            };
            assert!(date(true) > 2024.0, "{number}");
        }
    }
}
