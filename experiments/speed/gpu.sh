#!/bin/sh
# Measurements that need a GPU, in ten minutes on an H100: training against the net alone and against a DataLoader loop
# with workers, seconds to an accuracy on FER2013's PublicTest, and the latency that HAFEM's abstract claims.
#
#   FER_FER2013_ROOT=/data/fer2013 sh experiments/speed/gpu.sh          # records below experiments/speed/gpu
#   TRAINER=cpu FER_FER2013_ROOT=... sh experiments/speed/gpu.sh /tmp/try   # the same commands in small, without a GPU
#
# A measurement that has a record is not repeated, so that the script continues where it was stopped.
set -eu
out=${1:-experiments/speed/gpu}
trainer=${TRAINER:-gpu}
fer=${FER:-fer}
if [ "$trainer" = cpu ]; then
  batches=3 rounds=1 workers=0 epochs=1 images=500 small=64 large=2
else
  batches=24 rounds=${ROUNDS:-5} workers=15 epochs=25 images=null small=1024 large=64
fi

speed() { # folder, images a batch, options
  folder=$out/training_$1 size=$2
  shift 2
  [ -f "$folder/bench.csv" ] || $fer benchmark part=training trainer="$trainer" training.rounds=$rounds \
    training.batches=$batches training.workers=$workers data.batch_size="$size" output_dir="$folder" "$@"
}

speed resnet $small data=fer2013 model=resnet
speed psysfa_net $small data=fer2013 model=psysfa_net
speed hafem_lite $small data=fer2013 model=hafem_lite model.pretrained=none
speed hafem_b5 $large data.size=2400 model=hafem model.pretrained=none data.image_size=224 data.channels=3

# Seconds of a whole training, and the accuracy at its end: timing.fit_seconds and splits.test in metrics.json.
folder=$out/resnet_fer2013
[ -f "$folder/metrics.json" ] || $fer train data=fer2013 data.split=public_test model=resnet trainer="$trainer" \
  trainer.max_epochs=$epochs data.train_images=$images data.batch_size=256 optimizer.lr=2e-3 logger=csv \
  hydra.run.dir="$folder"

if [ "$trainer" != cpu ]; then
  for batch in 1 16; do
    folder=$out/hafem_b5_batch_$batch
    [ -f "$folder/benchmark.csv" ] || $fer benchmark device=cuda model=hafem model.pretrained=none data.image_size=224 \
      data.channels=3 batch=$batch output_dir="$folder"
  done
fi
