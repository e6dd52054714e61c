#!/bin/sh
# The nets of the next release on one GPU: the members that teach, three seeds of each, then the students. Runs of a stage
# share the GPU; a stopped script continues where it was. Meant for ten minutes of an H100, on which it has not run yet.
#
#   FER_FER2013_ROOT=/data/fer2013 sh experiments/weights/gpu.sh              # runs below outputs/release
#   TRAINER=cpu DATA=data.train_images=70 FER_FER2013_ROOT=... sh experiments/weights/gpu.sh    # the same commands in small
set -eu
fer=${FER:-fer}
trainer=${TRAINER:-gpu}
export OMP_NUM_THREADS=1 FER_FERPLUS_ROOT="${FER_FERPLUS_ROOT:-$FER_FER2013_ROOT}"
[ "$trainer" = gpu ] && last= || last="trainer.max_epochs=1 data.batch_size=64 ${DATA:-}"

# A run in the background: name of the recipe, seed, options.
train() {
  recipe=$1 seed=$2
  shift 2
  mkdir -p outputs/release
  # shellcheck disable=SC2086 # several options
  $fer train experiment="release_$recipe" seed="$seed" trainer="$trainer" logger=csv show=quiet "$@" $last \
    >"outputs/release/${recipe}_$seed.log" 2>&1 || echo "${recipe}_$seed failed: outputs/release/${recipe}_$seed.log" &
  [ "$trainer" = gpu ] || wait
}

# HAFEM-lite as it ships, but at 112 pixels, with stronger augmentation and for longer.
hafem="data.image_size=112 data.batch_size=128 augment=strong"
# shellcheck disable=SC2086 # several options
{
  for seed in 0 1 2; do
    train resnet $seed
    train ferplus_large $seed $hafem trainer.max_epochs=16 "hydra.run.dir=outputs/release/ferplus_large_$seed"
  done
  wait
  for seed in 0 1 2; do
    train fer2013 $seed $hafem trainer.max_epochs=12 "init=outputs/release/ferplus_large_$seed" "hydra.run.dir=outputs/release/fer2013_$seed"
  done
  wait
}
for seed in 0 1 2; do train student $seed; done
teachers=$(for seed in 0 1 2; do printf 'outputs/release/resnet_%s,outputs/release/fer2013_%s,' $seed $seed; done)
teachers="teacher=[${teachers%,}]"
# The architectures of the papers with the same teachers.
train psysfa 0 loss=distillation "$teachers" hydra.run.dir=outputs/release/psysfa_student_0
# shellcheck disable=SC2086
train fer2013 3 $hafem trainer.max_epochs=30 loss=distillation "$teachers" init=null model.pretrained=imagenet hydra.run.dir=outputs/release/hafem_lite_student_3
wait
