//! ros
fn main() {}
