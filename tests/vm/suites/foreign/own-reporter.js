// A reporter of the suite's own, with a file of its own.
const fs = require('node:fs');
const path = require('node:path');

class OwnReporter {
  constructor() {
    this.lines = [];
  }

  onTestEnd(test, result) {
    this.lines.push(`${result.status} ${test.title}`);
  }

  onEnd() {
    fs.mkdirSync(path.join(process.env.ARTIFACT_DIR, 'own'), { recursive: true });
    fs.writeFileSync(path.join(process.env.ARTIFACT_DIR, 'own', 'results.txt'), this.lines.join('\n') + '\n');
  }
}

module.exports = OwnReporter;
