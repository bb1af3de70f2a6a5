pub(crate) mod life {
    pub fn be_service<T>(_n: &str, _l: T) -> Result<(), crate::ServiceError> {
        unimplemented!()
    }
}
pub(crate) mod service {
    use crate::ServiceError;
    use std::path::Path;
    pub struct AgentService;
    impl AgentService {
        pub fn is_at_hand() -> bool {
            false
        }
        pub fn find(_: &Path) -> Result<Self, ServiceError> {
            unimplemented!()
        }
        pub fn described(&self) -> (String, String) {
            unimplemented!()
        }
        pub fn is_installed(&self) -> Result<bool, ServiceError> {
            unimplemented!()
        }
        pub fn put(&self, _: &Path, _: &Path) -> Result<(), ServiceError> {
            unimplemented!()
        }
        pub fn begin(&self) -> Result<(), ServiceError> {
            unimplemented!()
        }
        pub fn restart(&self) -> Result<(), ServiceError> {
            unimplemented!()
        }
        pub fn restart_soon(&self) -> Result<(), ServiceError> {
            unimplemented!()
        }
        pub fn remove(&self) -> Result<(), ServiceError> {
            unimplemented!()
        }
        pub fn starts_at_boot(&self) -> bool {
            unimplemented!()
        }
        pub fn revert_later(&self, _: &Path) -> Result<(), ServiceError> {
            unimplemented!()
        }
        pub fn call_off_revert(&self) -> Result<(), ServiceError> {
            unimplemented!()
        }
        pub fn wait_for_revert(&self) -> bool {
            unimplemented!()
        }
    }
}
