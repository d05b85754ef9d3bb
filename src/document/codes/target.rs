//! `E05xx`: target and engine.

codes! {
}
