;;! Traps in a C++ function whose name is 28 levels of templates: read for people it would double with each.

(module
  (memory (export "memory") 2)
  (global $next (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $next))
    (global.set $next
      (i32.and (i32.add (i32.add (global.get $next) (local.get 3)) (i32.const 7)) (i32.const -8)))
    (local.get $at))
  (func $_Z1f1a1bIS_S_E1cIS1_S1_E1dIS3_S3_E1eIS5_S5_E1fIS7_S7_E1gIS9_S9_E1hISB_SB_E1iISD_SD_E1jISF_SF_E1kISH_SH_E1lISJ_SJ_E1mISL_SL_E1nISN_SN_E1oISP_SP_E1pISR_SR_E1qIST_ST_E1rISV_SV_E1sISX_SX_E1tISZ_SZ_E1uIS11_S11_E1vIS13_S13_E1wIS15_S15_E1xIS17_S17_E1yIS19_S19_E1zIS1B_S1B_E1bIS1D_S1D_E1cIS1F_S1F_E1dIS1H_S1H_E (param i32)
    (if (i32.eqz (local.get 0)) (then unreachable))
    (call $_Z1f1a1bIS_S_E1cIS1_S1_E1dIS3_S3_E1eIS5_S5_E1fIS7_S7_E1gIS9_S9_E1hISB_SB_E1iISD_SD_E1jISF_SF_E1kISH_SH_E1lISJ_SJ_E1mISL_SL_E1nISN_SN_E1oISP_SP_E1pISR_SR_E1qIST_ST_E1rISV_SV_E1sISX_SX_E1tISZ_SZ_E1uIS11_S11_E1vIS13_S13_E1wIS15_S15_E1xIS17_S17_E1yIS19_S19_E1zIS1B_S1B_E1bIS1D_S1D_E1cIS1F_S1F_E1dIS1H_S1H_E (i32.sub (local.get 0) (i32.const 1))))
  (func (export "namelock:registration/handler@0.1.1#register") (param i32 i32 i32 i32 i32 i64 i32 i32) (result i32)
    (call $_Z1f1a1bIS_S_E1cIS1_S1_E1dIS3_S3_E1eIS5_S5_E1fIS7_S7_E1gIS9_S9_E1hISB_SB_E1iISD_SD_E1jISF_SF_E1kISH_SH_E1lISJ_SJ_E1mISL_SL_E1nISN_SN_E1oISP_SP_E1pISR_SR_E1qIST_ST_E1rISV_SV_E1sISX_SX_E1tISZ_SZ_E1uIS11_S11_E1vIS13_S13_E1wIS15_S15_E1xIS17_S17_E1yIS19_S19_E1zIS1B_S1B_E1bIS1D_S1D_E1cIS1F_S1F_E1dIS1H_S1H_E (i32.const 30))
    unreachable)
  (func (export "namelock:registration/handler@0.1.1#free") (param i32 i32 i32 i32) (result i32)
    unreachable))
