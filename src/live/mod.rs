pub mod docker; pub mod ownership; pub mod world;
pub struct LiveError;
