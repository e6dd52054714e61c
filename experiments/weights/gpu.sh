#!/bin/sh
# The nets of the next release on one GPU, in about ten minutes on an H100: the members that teach, three seeds of each,
# then the students. Runs of a stage share the GPU; a stopped script continues where it was.
#
#   FER_FER2013_ROOT=/data/fer2013 sh experiments/weights/gpu.sh              # runs below outputs/release
#   TRAINER=cpu DATA=data.train_images=140 FER_FER2013_ROOT=... sh experiments/weights/gpu.sh    # the same commands in small
set -eu
fer=${FER:-fer}
trainer=${TRAINER:-gpu}
export OMP_NUM_THREADS=1 FER_FERPLUS_ROOT="${FER_FERPLUS_ROOT:-$FER_FER2013_ROOT}"
[ "$trainer" = gpu ] && data= || data="trainer.max_epochs=1 data.batch_size=64 ${DATA:-}"

# A run in the background: name of the recipe, seed, options.
train() {
  recipe=$1 seed=$2
  shift 2
  mkdir -p outputs/release
  # shellcheck disable=SC2086 # several options
  $fer train experiment="release_$recipe" seed="$seed" trainer="$trainer" logger=csv show=quiet $data "$@" \
    >"outputs/release/${recipe}_$seed.log" 2>&1 || echo "${recipe}_$seed failed: outputs/release/${recipe}_$seed.log" &
  [ "$trainer" = gpu ] || wait
}

for seed in 0 1 2; do train resnet $seed; train ferplus $seed; done
wait
for seed in 0 1 2; do train fer2013 $seed; done
wait
for seed in 0 1 2; do train student $seed; done
teachers=$(for seed in 0 1 2; do printf 'outputs/release/resnet_%s,outputs/release/fer2013_%s,' $seed $seed; done)
teachers="teacher=[${teachers%,}]"
# The architectures of the papers with the same teachers.
train psysfa 0 loss=distillation "$teachers" hydra.run.dir=outputs/release/psysfa_student_0
train fer2013 3 loss=distillation "$teachers" init=null model.pretrained=imagenet hydra.run.dir=outputs/release/hafem_lite_student_0
wait
