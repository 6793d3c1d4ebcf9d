//! What can go wrong between text and ids.

use std::path::PathBuf;

/// Result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Every failure of this crate; the message says what happened, where, and what to try.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is there but does not hold what it should.
    #[error("{}: {problem}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A vocabulary that no tokenizer can be built from.
    #[error("vocabulary: {0}")]
    Vocabulary(String),
    /// The tokenizer refused a text or a list of ids.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// Tokenizer and model do not belong together.
    #[error(
        "the tokenizer has {tokens} tokens but the model has {rows} embedding rows: \
         they do not belong together; take the tokenizer files from the model's own folder"
    )]
    VocabularySize {
        /// Tokens, that is the highest id plus one.
        tokens: usize,
        /// Rows of the model's embedding.
        rows: usize,
    },
    /// A chat was asked of a tokenizer without a template.
    #[error(
        "this tokenizer has no chat template; use a chat model, put a chat_template.jinja beside \
         tokenizer.json, or give the prompt as plain text"
    )]
    NoChatTemplate,
    /// The template does not compile, failed while rendering, or refused the conversation.
    #[error("chat template{}: {problem}", line.map(|line| format!(", line {line}")).unwrap_or_default())]
    Template {
        /// Line in the template, from 1.
        line: Option<usize>,
        /// What happened there.
        problem: String,
    },
    /// The loss mask of a turn cannot be told.
    #[error("message {index} ({role}): {problem}")]
    Turn {
        /// Position in the conversation, from 0.
        index: usize,
        /// Its role.
        role: String,
        /// Why, and what to do.
        problem: String,
    },
}
