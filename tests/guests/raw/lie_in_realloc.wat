;;! Says that there is room for a text behind the end of its memory.

(module
  (memory (export "memory") 2)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (i32.const -16))
  (func (export "namelock:registration/handler@0.1.1#register") (param i32 i32 i32 i32 i32 i64 i32 i32) (result i32)
    unreachable)
  (func (export "namelock:registration/handler@0.1.1#free") (param i32 i32 i32 i32) (result i32)
    unreachable))
