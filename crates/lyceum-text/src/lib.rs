//! Tokenizers, chat templates, tag grammar and loss masks
#![forbid(unsafe_code)]
